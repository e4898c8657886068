"""BPF maps in kernel memory: their layout before anything runs, and reading their contents.

A map is laid out as its type's allocation function leaves it: header, values or buckets,
preallocated elements spread over the per-CPU free lists, spare elements per CPU. Programs
and the guest runtime work on these bytes; the readers take any way to read guest memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from tramposim.errors import InputError, UnsupportedError
from tramposim.kernel.versions import rules_for
from tramposim.machine.freelists import add_free_lists, add_lru_lists, pop_free, sequence
from tramposim.machine.memory import KernelMemory
from tramposim.machine.outputmaps import add_perf_buffers, add_ring, perf_records, ring_records
from tramposim.machine.placedmap import (
    MAX_MAP_BYTES,
    PERCPU_TYPES,
    PlacedMap,
    Read,
    add_header,
    check_size,
    power_of_two,
    round8,
    word,
)
from tramposim.machine.queuemaps import add_queue, add_stack_traces, queue_values, stack_trace
from tramposim.spec import Map, MapFlag, MapType

__all__ = [
    "MAX_MAP_BYTES",
    "PlacedMap",
    "add_map",
    "array_values",
    "hash_entries",
    "perf_records",
    "queue_values",
    "ring_records",
    "stack_trace",
]

_ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY, MapType.PROG_ARRAY)
_LRUS = (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
_HASHES = (MapType.HASH, MapType.PERCPU_HASH, *_LRUS)
_MAX_KEY = 512
_PAGE = 4096
_LOCK_GROUPS = 8
"""Groups of buckets that count, before 7.0, whether a CPU holds one's lock."""

OTHER_TYPES: Mapping[MapType, Callable[[KernelMemory, Map, int | None], PlacedMap]] = (
    MappingProxyType(
        {
            MapType.RINGBUF: add_ring,
            MapType.PERF_EVENT_ARRAY: add_perf_buffers,
            MapType.QUEUE: add_queue,
            MapType.STACK: add_queue,
            MapType.STACK_TRACE: add_stack_traces,
        }
    )
)
"""How maps are laid out that are neither arrays nor hashes."""


def _check(spec: Map, cpus: int) -> None:
    where = f"map {spec.name}"
    if spec.flags & MapFlag.NO_PREALLOC:
        raise UnsupportedError(f"{where}: maps without preallocated elements are not emulated")
    if spec.flags & MapFlag.MMAPABLE and spec.type is not MapType.ARRAY:
        raise InputError(f"a map of type {spec.type} cannot be mapped to user space", where)
    if spec.max_entries < 1 or spec.max_entries >= 1 << 31:
        raise InputError(f"max_entries is {spec.max_entries}; give at least 1", where)
    if spec.type in _ARRAYS and spec.key_size != 4:
        raise InputError(f"key_size of an array is 4 bytes, not {spec.key_size}", where)
    if not 1 <= spec.key_size <= _MAX_KEY:
        raise InputError(f"key_size is {spec.key_size}; a key has 1 to {_MAX_KEY} bytes", where)
    if spec.value_size < 1:
        raise InputError(f"value_size is {spec.value_size}; a value has at least 1 byte", where)
    copies = cpus if spec.type in PERCPU_TYPES else 1
    check_size(spec.max_entries * (64 + spec.key_size + spec.value_size * copies), where)


def _array(memory: KernelMemory, spec: Map, address: int | None) -> PlacedMap:
    """struct bpf_array; unprivileged-safe: the index is masked, so a power of two is there."""
    layout = memory.structs
    start = layout.offset("bpf_array.value")
    element = round8(spec.value_size)
    stride = element if spec.type is MapType.ARRAY else 8
    slots = power_of_two(spec.max_entries)
    size = start + slots * stride
    if address is None and spec.flags & MapFlag.MMAPABLE:
        # Values begin a page, so that user space can map them; the header lies right before.
        head = -start % _PAGE
        address = memory.vmalloc(head + size, f"map {spec.name}") + head
    elif address is None:
        address = memory.kmalloc(size, f"map {spec.name}", 256)
    else:
        memory.add(address, size, f"map {spec.name}")
    add_header(memory, spec, address)
    memory.put_member(address, "bpf_array.elem_size", element, 4)
    memory.put_member(address, "bpf_array.index_mask", slots - 1, 4)
    for index, at in enumerate(range(0, len(spec.content), spec.value_size)):
        content = spec.content[at : at + spec.value_size]
        memory.write(address + start + index * stride, content)
    if spec.type is MapType.PERCPU_ARRAY:
        first = memory.percpu(element * spec.max_entries, f"values of {spec.name}", 8)
        pointers = sequence(first, element, spec.max_entries)
        memory.put_column(address + start, stride, pointers)
    return PlacedMap(spec, address, address + start, stride, 0, 0, 0, memory.percpu_offsets())


def _hash(memory: KernelMemory, spec: Map, address: int | None, seed: int) -> PlacedMap:
    """struct bpf_htab with preallocated elements."""
    layout, cpus = memory.structs, memory.runtime.cpus
    name = f"map {spec.name}"
    percpu, lru = spec.type in PERCPU_TYPES, spec.type in _LRUS
    key = layout.offset("htab_elem.key")
    size = key + round8(spec.key_size) + (8 if percpu else round8(spec.value_size))
    # A CPU keeps a spare element for updates in place; per-CPU values are updated where they are.
    count = spec.max_entries + (0 if percpu or lru else cpus)
    if address is None:
        address = memory.kmalloc(layout.sizes["bpf_htab"], name, 256)
    else:
        memory.add(address, layout.sizes["bpf_htab"], name)
    add_header(memory, spec, address)
    bucket_count = power_of_two(spec.max_entries)
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
        value_size = round8(spec.value_size)
        first = memory.percpu(value_size * count, f"values of {spec.name}", 8)
        pointers = sequence(first, value_size, count)
        memory.put_column(elements + key + round8(spec.key_size), size, pointers)
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
    if not rules_for(memory.runtime.kernel).inlined_guards:
        for group in range(_LOCK_GROUPS):
            count = memory.percpu(4, f"lock count of {spec.name}", 4)
            memory.put(address + layout.offset("bpf_htab.map_locked") + 8 * group, count)
    return PlacedMap(spec, address, 0, 0, buckets, bucket_count, seed, memory.percpu_offsets())


def add_map(
    memory: KernelMemory, spec: Map, address: int | None = None, seed: int = 0
) -> PlacedMap:
    """Lays out an empty map, at `address` if given; `seed` is a hash's 32-bit hashrnd.

    Raises `InputError` for sizes that a kernel would refuse or that are too large here,
    `UnsupportedError` for a map type without a layout.
    """
    if spec.type in OTHER_TYPES:
        return OTHER_TYPES[spec.type](memory, spec, address)
    _check(spec, memory.runtime.cpus)
    if spec.type in _ARRAYS:
        return _array(memory, spec, address)
    if spec.type in _HASHES:
        return _hash(memory, spec, address, seed & 0xFFFFFFFF)
    raise UnsupportedError(f"map {spec.name}: maps of type {spec.type} are not emulated")


def _value(placed: PlacedMap, read: Read, at: int, cpu: int | None) -> bytes:
    if not placed.percpu:
        return read(at, placed.map.value_size)
    if cpu is None or not 0 <= cpu < len(placed.percpu_offsets):
        raise InputError(
            f"name a CPU from 0 to {len(placed.percpu_offsets) - 1}: every CPU has its own values",
            f"map {placed.map.name}",
        )
    target = (word(read, at) + placed.percpu_offsets[cpu]) & ((1 << 64) - 1)
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
        link = word(read, placed.buckets + index * layout.sizes["bucket"])
        while not link & 1:
            seen += 1
            if seen > placed.map.max_entries:
                raise InputError("its lists have more entries than it can hold", placed.map.name)
            key = read(link + key_at, placed.map.key_size)
            value = link + key_at + round8(placed.map.key_size)
            yield key, _value(placed, read, value, cpu)
            link = word(read, link + layout.offset("htab_elem.next"))
        if link >> 1 != index:
            raise InputError(f"bucket {index} ends as bucket {link >> 1}", placed.map.name)
