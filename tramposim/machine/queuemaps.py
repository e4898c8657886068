"""Queues, stacks and maps of stack traces in kernel memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tramposim.errors import InputError
from tramposim.machine.freelists import link_free_nodes
from tramposim.machine.memory import KernelMemory
from tramposim.machine.placedmap import (
    PlacedMap,
    Read,
    add_header,
    check_size,
    power_of_two,
    round8,
    word,
)
from tramposim.spec import Map, MapType

__all__ = ["add_queue", "add_stack_traces", "queue_values", "stack_trace"]

_MAX_DEPTH = 127
"""Frames of a stack trace (kernel.perf_event_max_stack)."""


def add_queue(memory: KernelMemory, spec: Map, address: int | None) -> PlacedMap:
    """struct bpf_queue_stack: a ring of values, one place more than entries."""
    layout, name = memory.structs, f"map {spec.name}"
    if spec.key_size:
        raise InputError(f"key_size of a {spec.type} is 0, not {spec.key_size}", name)
    if spec.value_size < 1:
        raise InputError(f"value_size is {spec.value_size}; a value has at least 1 byte", name)
    if spec.max_entries < 1:
        raise InputError(f"max_entries is {spec.max_entries}; give at least 1", name)
    places = spec.max_entries + 1
    start = layout.offset("bpf_queue_stack.elements")
    size = start + round8(places * spec.value_size)
    check_size(size, name)
    if address is None:
        address = memory.kmalloc(size, name, 256)
    else:
        memory.add(address, size, name)
    add_header(memory, spec, address)
    memory.put_member(address, "bpf_queue_stack.size", places, 4)
    offsets = memory.percpu_offsets()
    return PlacedMap(spec, address, address + start, spec.value_size, 0, 0, 0, offsets)


def queue_values(placed: PlacedMap, memory: KernelMemory, read: Read) -> Iterator[bytes]:
    """The values of a queue or stack, oldest first."""
    if placed.map.type not in (MapType.QUEUE, MapType.STACK):
        raise InputError("is not a queue or stack", f"map {placed.map.name}")
    layout = memory.structs
    at, head, size = (
        word(read, placed.address + layout.offset(f"bpf_queue_stack.{member}"), 4)
        for member in ("tail", "head", "size")
    )
    if max(at, head) >= size:
        raise InputError("its ends lie outside of it", f"map {placed.map.name}")
    while at != head:
        yield read(placed.values + at * placed.stride, placed.map.value_size)
        at = (at + 1) % size


def add_stack_traces(memory: KernelMemory, spec: Map, address: int | None) -> PlacedMap:
    """struct bpf_stack_map with its preallocated buckets."""
    layout, name = memory.structs, f"map {spec.name}"
    if spec.key_size != 4:
        raise InputError(f"key_size of stack traces is 4 bytes, not {spec.key_size}", name)
    if spec.value_size < 8 or spec.value_size % 8 or spec.value_size > 8 * _MAX_DEPTH:
        raise InputError(
            f"value_size is {spec.value_size}; a stack has 1 to {_MAX_DEPTH} addresses of 8 bytes",
            name,
        )
    if not 1 <= spec.max_entries < 1 << 24:
        raise InputError(f"max_entries is {spec.max_entries}; give at least 1", name)
    count = power_of_two(spec.max_entries)
    element = layout.sizes["stack_map_bucket"] + spec.value_size
    pointers = layout.offset("bpf_stack_map.buckets")
    check_size(count * (element + 8), name)
    if address is None:
        address = memory.kmalloc(pointers + 8 * count, name, 256)
    else:
        memory.add(address, pointers + 8 * count, name)
    add_header(memory, spec, address)
    elements = memory.kmalloc(spec.max_entries * element, f"stacks of {spec.name}")
    lists = link_free_nodes(memory, elements, element, spec.max_entries, spec)
    memory.put_member(address, "bpf_stack_map.elems", elements)
    memory.put_member(address, "bpf_stack_map.freelist", lists)
    memory.put_member(address, "bpf_stack_map.n_buckets", count, 4)
    offsets = memory.percpu_offsets()
    return PlacedMap(spec, address, address + pointers, 8, 0, count, 0, offsets)


def stack_trace(
    placed: PlacedMap, memory: KernelMemory, read: Read, number: int
) -> tuple[int, ...] | None:
    """The addresses of a stack, innermost first; None if no stack has the number."""
    if placed.map.type is not MapType.STACK_TRACE:
        raise InputError("holds no stack traces", f"map {placed.map.name}")
    layout = memory.structs
    if not 0 <= number < placed.bucket_count:
        return None
    bucket = word(read, placed.values + 8 * number)
    if not bucket:
        return None
    depth = word(read, bucket + layout.offset("stack_map_bucket.nr"), 4)
    if depth > placed.map.value_size // 8:
        raise InputError(f"a stack of {depth} frames", f"map {placed.map.name}")
    data = read(bucket + layout.offset("stack_map_bucket.data"), 8 * depth)
    return tuple(int(address) for address in np.frombuffer(data, "<u8"))
