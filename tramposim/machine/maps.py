"""BPF maps in kernel memory: their layout before anything runs, and reading their contents.

A map is laid out as its type's allocation function leaves it: header, values or buckets,
preallocated elements spread over the per-CPU free lists, spare elements per CPU. Programs
and the guest runtime work on these bytes; the readers take any way to read guest memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tramposim.errors import InputError, UnsupportedError
from tramposim.machine.freelists import add_free_lists, add_lru_lists, pop_free, sequence
from tramposim.machine.memory import KernelMemory
from tramposim.spec import Map, MapFlag, MapType

__all__ = ["MAX_MAP_BYTES", "PlacedMap", "add_map", "array_values", "hash_entries", "ring_records"]

Read = Callable[[int, int], bytes]
"""Reads guest memory: (address, size) -> bytes."""

MAX_MAP_BYTES = 1 << 28
"""Most memory that one map may take here."""

_TYPE_NUMBERS = {
    MapType.HASH: 1,
    MapType.ARRAY: 2,
    MapType.PROG_ARRAY: 3,
    MapType.PERF_EVENT_ARRAY: 4,
    MapType.PERCPU_HASH: 5,
    MapType.PERCPU_ARRAY: 6,
    MapType.LRU_HASH: 9,
    MapType.RINGBUF: 27,
}

_OPERATIONS = {
    MapType.LRU_HASH: (
        "htab_lru_map_lookup_elem",
        "htab_lru_map_update_elem",
        "htab_lru_map_delete_elem",
    ),
    MapType.ARRAY: ("array_map_lookup_elem", "array_map_update_elem", "array_map_delete_elem"),
    MapType.PERCPU_ARRAY: (
        "percpu_array_map_lookup_elem",
        "array_map_update_elem",
        "array_map_delete_elem",
    ),
    MapType.HASH: ("htab_map_lookup_elem", "htab_map_update_elem", "htab_map_delete_elem"),
    MapType.PERCPU_HASH: (
        "htab_percpu_map_lookup_elem",
        "htab_percpu_map_update_elem",
        "htab_map_delete_elem",
    ),
}
"""Functions behind a map's ops: lookup, update, delete."""

_ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY, MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY)
_HASHES = (MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH)
_MAX_KEY = 512
_PAGE = 4096
_RING_BUSY, _RING_DISCARDED = 1 << 31, 1 << 30


@dataclass(frozen=True, slots=True)
class PlacedMap:
    """A map in memory.

    `address` is what programs load (struct bpf_map). Arrays: value i lies at `values` + i *
    `stride`; per-CPU arrays: its per-CPU pointer does. Hashes: `buckets` of 16 bytes,
    `bucket_count` of them (a power of two). Ring buffers: the ring lies at
    `values`. `percpu_offsets` are what the CPUs add to per-CPU pointers.
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
        return self.map.type in (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH)


def _round8(size: int) -> int:
    return (size + 7) & -8


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _check_ring(spec: Map, where: str) -> None:
    if spec.key_size or spec.value_size:
        raise InputError("key_size and value_size of a ring buffer are 0", where)
    if spec.max_entries % _PAGE or spec.max_entries & (spec.max_entries - 1):
        raise InputError(
            f"max_entries is {spec.max_entries}; the bytes of a ring are a power of two"
            f" and at least a page ({_PAGE})",
            where,
        )
    if 2 * spec.max_entries > MAX_MAP_BYTES:
        raise InputError(f"takes {2 * spec.max_entries} bytes; at most {MAX_MAP_BYTES}", where)


def _check(spec: Map, cpus: int) -> None:
    where = f"map {spec.name}"
    if spec.flags & MapFlag.NO_PREALLOC:
        raise UnsupportedError(f"{where}: maps without preallocated elements are not emulated")
    if spec.flags & MapFlag.MMAPABLE and spec.type is not MapType.ARRAY:
        raise InputError(f"a map of type {spec.type} cannot be mapped to user space", where)
    if spec.max_entries < 1 or spec.max_entries >= 1 << 31:
        raise InputError(f"max_entries is {spec.max_entries}; give at least 1", where)
    if spec.type is MapType.RINGBUF:
        _check_ring(spec, where)
        return
    if spec.type in _ARRAYS and spec.key_size != 4:
        raise InputError(f"key_size of an array is 4 bytes, not {spec.key_size}", where)
    if not 1 <= spec.key_size <= _MAX_KEY:
        raise InputError(f"key_size is {spec.key_size}; a key has 1 to {_MAX_KEY} bytes", where)
    if spec.value_size < 1:
        raise InputError(f"value_size is {spec.value_size}; a value has at least 1 byte", where)
    copies = cpus if spec.type in (MapType.PERCPU_ARRAY, MapType.PERCPU_HASH) else 1
    size = spec.max_entries * (64 + spec.key_size + spec.value_size * copies)
    if size > MAX_MAP_BYTES:
        raise InputError(f"takes {size} bytes; at most {MAX_MAP_BYTES} are emulated", where)


def _header(memory: KernelMemory, spec: Map, address: int) -> None:
    layout, runtime = memory.structs, memory.runtime
    ops = memory.kmalloc(layout.sizes["bpf_map_ops"], f"operations of {spec.name}")
    members = ("map_lookup_elem", "map_update_elem", "map_delete_elem")
    for member, function in zip(members, _OPERATIONS.get(spec.type, ()), strict=False):
        memory.put_member(ops, f"bpf_map_ops.{member}", runtime.address(function))
    memory.put_member(address, "bpf_map.ops", ops)
    for member, value in (
        ("map_type", _TYPE_NUMBERS[spec.type]),
        ("key_size", spec.key_size),
        ("value_size", spec.value_size),
        ("max_entries", spec.max_entries),
    ):
        memory.put_member(address, f"bpf_map.{member}", value, 4)


def _offsets(memory: KernelMemory) -> tuple[int, ...]:
    return tuple(memory.percpu_offset(cpu) for cpu in range(memory.runtime.cpus))


def _array(memory: KernelMemory, spec: Map, address: int | None) -> PlacedMap:
    """struct bpf_array; unprivileged-safe: the index is masked, so a power of two is there."""
    layout = memory.structs
    start = layout.offset("bpf_array.value")
    element = _round8(spec.value_size)
    stride = element if spec.type is MapType.ARRAY else 8
    slots = _power_of_two(spec.max_entries)
    size = start + slots * stride
    if address is None and spec.flags & MapFlag.MMAPABLE:
        # Values begin a page, so that user space can map them; the header lies right before.
        head = -start % _PAGE
        address = memory.vmalloc(head + size, f"map {spec.name}") + head
    elif address is None:
        address = memory.kmalloc(size, f"map {spec.name}", 256)
    else:
        memory.add(address, size, f"map {spec.name}")
    _header(memory, spec, address)
    memory.put_member(address, "bpf_array.elem_size", element, 4)
    memory.put_member(address, "bpf_array.index_mask", slots - 1, 4)
    for index, at in enumerate(range(0, len(spec.content), spec.value_size)):
        content = spec.content[at : at + spec.value_size]
        memory.write(address + start + index * stride, content)
    if spec.type is MapType.PERCPU_ARRAY:
        first = memory.percpu(element * spec.max_entries, f"values of {spec.name}", 8)
        pointers = sequence(first, element, spec.max_entries)
        memory.put_column(address + start, stride, pointers)
    return PlacedMap(spec, address, address + start, stride, 0, 0, 0, _offsets(memory))


def _hash(memory: KernelMemory, spec: Map, address: int | None, seed: int) -> PlacedMap:
    """struct bpf_htab with preallocated elements."""
    layout, cpus = memory.structs, memory.runtime.cpus
    name = f"map {spec.name}"
    percpu, lru = spec.type is MapType.PERCPU_HASH, spec.type is MapType.LRU_HASH
    key = layout.offset("htab_elem.key")
    size = key + _round8(spec.key_size) + (8 if percpu else _round8(spec.value_size))
    # A CPU keeps a spare element for updates in place; per-CPU values are updated where they are.
    count = spec.max_entries + (0 if percpu or lru else cpus)
    if address is None:
        address = memory.kmalloc(layout.sizes["bpf_htab"], name, 256)
    else:
        memory.add(address, layout.sizes["bpf_htab"], name)
    _header(memory, spec, address)
    bucket_count = _power_of_two(spec.max_entries)
    buckets = memory.kmalloc(bucket_count * layout.sizes["bucket"], f"buckets of {spec.name}")
    ends = np.arange(bucket_count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    memory.put_column(buckets, layout.sizes["bucket"], ends)
    elements = memory.kmalloc(count * size, f"elements of {spec.name}")
    if lru:
        add_lru_lists(memory, address, elements, size, count, spec)
    else:
        lists = add_free_lists(memory, elements, size, count, spec)
        memory.put_member(address, "bpf_htab.freelist", lists)
    if percpu:
        value_size = _round8(spec.value_size)
        first = memory.percpu(value_size * count, f"values of {spec.name}", 8)
        pointers = sequence(first, value_size, count)
        memory.put_column(elements + key + _round8(spec.key_size), size, pointers)
    elif not lru:
        spares = memory.percpu(8, f"spare elements of {spec.name}", 8)
        memory.put_member(address, "bpf_htab.extra_elems", spares)
        for cpu in range(cpus):
            memory.put(memory.percpu_address(spares, cpu), pop_free(memory, lists, cpu))
    memory.put_member(address, "bpf_map.elem_count", memory.percpu(8, f"count of {spec.name}", 8))
    memory.put_member(address, "bpf_htab.buckets", buckets)
    memory.put_member(address, "bpf_htab.elems", elements)
    memory.put_member(address, "bpf_htab.n_buckets", bucket_count, 4)
    memory.put_member(address, "bpf_htab.elem_size", size, 4)
    memory.put_member(address, "bpf_htab.hashrnd", seed, 4)
    return PlacedMap(spec, address, 0, 0, buckets, bucket_count, seed, _offsets(memory))


def add_map(
    memory: KernelMemory, spec: Map, address: int | None = None, seed: int = 0
) -> PlacedMap:
    """Lays out an empty map, at `address` if given; `seed` is a hash's 32-bit hashrnd.

    Raises `InputError` for sizes that a kernel would refuse or that are too large here,
    `UnsupportedError` for a map type without a layout.
    """
    _check(spec, memory.runtime.cpus)
    if spec.type in _ARRAYS:
        return _array(memory, spec, address)
    if spec.type in _HASHES:
        return _hash(memory, spec, address, seed & 0xFFFFFFFF)
    if spec.type is MapType.RINGBUF:
        return _ring(memory, spec, address)
    raise UnsupportedError(f"map {spec.name}: maps of type {spec.type} are not emulated")


def _ring(memory: KernelMemory, spec: Map, address: int | None) -> PlacedMap:
    """struct bpf_ringbuf_map and its ring: header page, position pages, data twice in a row.

    Kernels map the data pages twice; here the second copy is memory of its own, which
    programs and readers cannot tell, because a record is written and read contiguously.
    """
    layout, name = memory.structs, f"map {spec.name}"
    size = layout.offset("bpf_ringbuf_map.rb") + 8
    if address is None:
        address = memory.kmalloc(size, name, 256)
    else:
        memory.add(address, size, name)
    _header(memory, spec, address)
    data = layout.offset("bpf_ringbuf.data")
    ring = memory.vmalloc(data + 2 * spec.max_entries, f"ring of {spec.name}")
    memory.put_member(address, "bpf_ringbuf_map.rb", ring)
    memory.put_member(ring, "bpf_ringbuf.mask", spec.max_entries - 1)
    return PlacedMap(spec, address, ring, 0, 0, 0, 0, _offsets(memory))


def _word(read: Read, address: int) -> int:
    return int.from_bytes(read(address, 8), "little")


def _value(placed: PlacedMap, read: Read, at: int, cpu: int | None) -> bytes:
    if not placed.percpu:
        return read(at, placed.map.value_size)
    if cpu is None or not 0 <= cpu < len(placed.percpu_offsets):
        raise InputError(
            f"name a CPU from 0 to {len(placed.percpu_offsets) - 1}: every CPU has its own values",
            f"map {placed.map.name}",
        )
    target = (_word(read, at) + placed.percpu_offsets[cpu]) & ((1 << 64) - 1)
    return read(target, placed.map.value_size)


def array_values(placed: PlacedMap, read: Read, cpu: int | None = None) -> Iterator[bytes]:
    """The values of an array in index order; of a per-CPU array those of `cpu`."""
    if placed.map.type not in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        raise InputError("is not an array", f"map {placed.map.name}")
    for index in range(placed.map.max_entries):
        yield _value(placed, read, placed.values + index * placed.stride, cpu)


def hash_entries(
    placed: PlacedMap, memory: KernelMemory, read: Read, cpu: int | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a hash map's entries, in bucket order; per-CPU values those of `cpu`.

    Raises `InputError` if the lists are broken: a cycle, or an end of another bucket.
    """
    if placed.map.type not in _HASHES:
        raise InputError("is not a hash map", f"map {placed.map.name}")
    layout = memory.structs
    key_at = layout.offset("htab_elem.key")
    seen = 0
    for index in range(placed.bucket_count):
        link = _word(read, placed.buckets + index * layout.sizes["bucket"])
        while not link & 1:
            seen += 1
            if seen > placed.map.max_entries:
                raise InputError("its lists have more entries than it can hold", placed.map.name)
            key = read(link + key_at, placed.map.key_size)
            value = link + key_at + _round8(placed.map.key_size)
            yield key, _value(placed, read, value, cpu)
            link = _word(read, link + layout.offset("htab_elem.next"))
        if link >> 1 != index:
            raise InputError(f"bucket {index} ends as bucket {link >> 1}", placed.map.name)


def ring_records(placed: PlacedMap, memory: KernelMemory, read: Read) -> Iterator[bytes]:
    """The committed, not discarded records between the consumer and the producer, oldest first.

    Ends at a record that is reserved but not committed, as a consumer would.
    """
    if placed.map.type is not MapType.RINGBUF:
        raise InputError("is not a ring buffer", f"map {placed.map.name}")
    layout, ring = memory.structs, placed.values
    position = _word(read, ring + layout.offset("bpf_ringbuf.consumer_pos"))
    end = _word(read, ring + layout.offset("bpf_ringbuf.producer_pos"))
    data = ring + layout.offset("bpf_ringbuf.data")
    while position < end:
        at = data + position % placed.map.max_entries
        header = int.from_bytes(read(at, 4), "little")
        if header & _RING_BUSY:
            return
        size = header & ~_RING_DISCARDED
        if size > placed.map.max_entries:
            raise InputError(f"a record of {size} bytes", f"map {placed.map.name}")
        if not header & _RING_DISCARDED:
            yield read(at + 8, size)
        position += _round8(size + 8)
