"""A BPF map in kernel memory: where its parts lie, and what all types have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tramposim.errors import InputError
from tramposim.machine.memory import KernelMemory
from tramposim.spec import Map, MapType

__all__ = [
    "MAX_MAP_BYTES",
    "PERCPU_TYPES",
    "PlacedMap",
    "Read",
    "add_header",
    "check_size",
    "power_of_two",
    "round8",
    "word",
]

Read = Callable[[int, int], bytes]
"""Reads guest memory: (address, size) -> bytes."""

MAX_MAP_BYTES = 1 << 28
"""Most memory that one map may take here."""

PERCPU_TYPES = (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH)
"""Types of which every CPU has values of its own."""

_TYPE_NUMBERS = {
    MapType.HASH: 1,
    MapType.ARRAY: 2,
    MapType.PROG_ARRAY: 3,
    MapType.PERF_EVENT_ARRAY: 4,
    MapType.PERCPU_HASH: 5,
    MapType.PERCPU_ARRAY: 6,
    MapType.STACK_TRACE: 7,
    MapType.LRU_HASH: 9,
    MapType.LRU_PERCPU_HASH: 10,
    MapType.QUEUE: 22,
    MapType.STACK: 23,
    MapType.RINGBUF: 27,
}

_ARRAY = {
    "map_lookup_elem": "array_map_lookup_elem",
    "map_update_elem": "array_map_update_elem",
    "map_delete_elem": "array_map_delete_elem",
    "map_for_each_callback": "bpf_for_each_array_elem",
}
_HASH = {
    "map_lookup_elem": "htab_map_lookup_elem",
    "map_update_elem": "htab_map_update_elem",
    "map_delete_elem": "htab_map_delete_elem",
    "map_for_each_callback": "bpf_for_each_hash_elem",
}
_LRU = {
    "map_lookup_elem": "htab_lru_map_lookup_elem",
    "map_update_elem": "htab_lru_map_update_elem",
    "map_delete_elem": "htab_lru_map_delete_elem",
}
_QUEUE = {"map_push_elem": "queue_stack_map_push_elem"}
_PERCPU_HASH = {"map_lookup_percpu_elem": "htab_percpu_map_lookup_percpu_elem"}

_OPERATIONS: dict[MapType, dict[str, str]] = {
    MapType.ARRAY: _ARRAY,
    MapType.PERCPU_ARRAY: {
        **_ARRAY,
        "map_lookup_elem": "percpu_array_map_lookup_elem",
        "map_lookup_percpu_elem": "percpu_array_map_lookup_percpu_elem",
    },
    MapType.HASH: _HASH,
    MapType.LRU_HASH: _HASH | _LRU,
    MapType.PERCPU_HASH: {
        **_HASH,
        **_PERCPU_HASH,
        "map_lookup_elem": "htab_percpu_map_lookup_elem",
        "map_update_elem": "htab_percpu_map_update_elem",
    },
    MapType.LRU_PERCPU_HASH: {
        **_HASH,
        **_LRU,
        **_PERCPU_HASH,
        "map_lookup_elem": "htab_lru_percpu_map_lookup_elem",
        "map_update_elem": "htab_lru_percpu_map_update_elem",
    },
    MapType.QUEUE: {
        **_QUEUE,
        "map_pop_elem": "queue_map_pop_elem",
        "map_peek_elem": "queue_map_peek_elem",
    },
    MapType.STACK: {
        **_QUEUE,
        "map_pop_elem": "stack_map_pop_elem",
        "map_peek_elem": "stack_map_peek_elem",
    },
}
"""Functions behind a map's ops."""


@dataclass(frozen=True, slots=True)
class PlacedMap:
    """A map in memory.

    `address` is what programs load (struct bpf_map). Arrays: value i lies at `values` + i *
    `stride`; per-CPU arrays: its per-CPU pointer does. Hashes: `buckets` of 16 bytes,
    `bucket_count` of them (a power of two). Ring buffers: the ring lies at `values`. Queues
    and stacks: places for values at `values`, one more than entries. Stack traces: pointers
    to `bucket_count` buckets at `values`. Perf event arrays: pointers to the CPUs' events.
    `percpu_offsets` are what the CPUs add to per-CPU pointers.
    """

    map: Map
    address: int
    values: int
    stride: int
    buckets: int
    bucket_count: int
    hash_seed: int
    percpu_offsets: tuple[int, ...]

    @property
    def percpu(self) -> bool:
        """Whether every CPU has its own value."""
        return self.map.type in PERCPU_TYPES


def round8(size: int) -> int:
    """The next multiple of 8."""
    return (size + 7) & -8


def power_of_two(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def word(read: Read, address: int, size: int = 8) -> int:
    """A little-endian number in guest memory."""
    return int.from_bytes(read(address, size), "little")


def check_size(size: int, where: str) -> None:
    """Raises `InputError` for more bytes than a map may take."""
    if size > MAX_MAP_BYTES:
        raise InputError(f"takes {size} bytes; at most {MAX_MAP_BYTES} are emulated", where)


def add_header(memory: KernelMemory, spec: Map, address: int) -> None:
    """Fills in struct bpf_map and its operations."""
    layout, runtime = memory.structs, memory.runtime
    ops = memory.kmalloc(layout.sizes["bpf_map_ops"], f"operations of {spec.name}")
    for member, function in _OPERATIONS.get(spec.type, {}).items():
        memory.put_member(ops, f"bpf_map_ops.{member}", runtime.address(function))
    memory.put_member(address, "bpf_map.ops", ops)
    for member, value in (
        ("map_type", _TYPE_NUMBERS[spec.type]),
        ("key_size", spec.key_size),
        ("value_size", spec.value_size),
        ("max_entries", spec.max_entries),
    ):
        memory.put_member(address, f"bpf_map.{member}", value, 4)
