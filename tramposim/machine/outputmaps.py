"""Maps that carry records out of programs: ring buffers and perf buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tramposim.bpf.queues import PERF_BUFFER_PAGES
from tramposim.errors import InputError
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

__all__ = [
    "OUTPUT_TYPES",
    "PERF_BUFFER_PAGES",
    "Filled",
    "add_perf_buffers",
    "add_ring",
    "perf_records",
    "ring_records",
    "take_all",
]

OUTPUT_TYPES = (MapType.RINGBUF, MapType.PERF_EVENT_ARRAY)
"""Map types that a reader empties."""

_PAGE = 4096
_RING_BUSY, _RING_DISCARDED = 1 << 31, 1 << 30
_SAMPLE = 9
_PERF_HEADER = 12
"""struct perf_event_header and the length of the raw data behind it."""


def _check_ring(spec: Map, where: str) -> None:
    if spec.key_size or spec.value_size:
        raise InputError("key_size and value_size of a ring buffer are 0", where)
    entries = spec.max_entries
    if entries < 1 or entries % _PAGE or entries & (entries - 1):
        raise InputError(
            f"max_entries is {spec.max_entries}; the bytes of a ring are a power of two"
            f" and at least a page ({_PAGE})",
            where,
        )
    check_size(2 * spec.max_entries, where)


def add_ring(memory: KernelMemory, spec: Map, address: int | None) -> PlacedMap:
    """struct bpf_ringbuf_map and its ring: header page, position pages, data twice in a row.

    Kernels map the data pages twice; here the second copy is memory of its own, which
    programs and readers cannot tell, because a record is written and read contiguously.
    """
    layout, name = memory.structs, f"map {spec.name}"
    _check_ring(spec, name)
    size = layout.offset("bpf_ringbuf_map.rb") + 8
    if address is None:
        address = memory.kmalloc(size, name, 256)
    else:
        memory.add(address, size, name)
    add_header(memory, spec, address)
    data = layout.offset("bpf_ringbuf.data")
    ring = memory.vmalloc(data + 2 * spec.max_entries, f"ring of {spec.name}")
    memory.put_member(address, "bpf_ringbuf_map.rb", ring)
    memory.put_member(ring, "bpf_ringbuf.mask", spec.max_entries - 1)
    return PlacedMap(spec, address, ring, 0, 0, 0, 0, memory.percpu_offsets())


def ring_records(placed: PlacedMap, memory: KernelMemory, read: Read) -> Iterator[bytes]:
    """The committed, not discarded records between the consumer and the producer, oldest first.

    Ends at a record that is reserved but not committed, as a consumer would.
    """
    if placed.map.type is not MapType.RINGBUF:
        raise InputError("is not a ring buffer", f"map {placed.map.name}")
    layout, ring = memory.structs, placed.values
    position = word(read, ring + layout.offset("bpf_ringbuf.consumer_pos"))
    end = word(read, ring + layout.offset("bpf_ringbuf.producer_pos"))
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
        position += round8(size + 8)


def add_perf_buffers(memory: KernelMemory, spec: Map, address: int | None) -> PlacedMap:
    """A perf event array with an open event and its mapped buffer for every CPU.

    That is the state in which a reader has set it up; `max_entries` 0 means one for each CPU.
    """
    layout, cpus, name = memory.structs, memory.runtime.cpus, f"map {spec.name}"
    if spec.key_size != 4 or spec.value_size != 4:
        raise InputError("key_size and value_size of a perf event array are 4", name)
    if not 0 <= spec.max_entries < 1 << 20:
        raise InputError(f"max_entries is {spec.max_entries}; 0 to {(1 << 20) - 1}", name)
    entries = spec.max_entries or cpus
    slots = power_of_two(entries)
    size = layout.offset("bpf_array.value") + 8 * slots
    if address is None:
        address = memory.kmalloc(size, name, 256)
    else:
        memory.add(address, size, name)
    add_header(memory, spec, address)
    memory.put_member(address, "bpf_map.max_entries", entries, 4)
    memory.put_member(address, "bpf_array.elem_size", 8, 4)
    memory.put_member(address, "bpf_array.index_mask", slots - 1, 4)
    pointers = address + layout.offset("bpf_array.value")
    for cpu in range(min(cpus, entries)):
        memory.put(pointers + 8 * cpu, _perf_event(memory, spec, cpu))
    return PlacedMap(spec, address, pointers, 8, 0, 0, 0, memory.percpu_offsets())


def _perf_event(memory: KernelMemory, spec: Map, cpu: int) -> int:
    """An open event of a CPU; the address of its struct bpf_event_entry."""
    sizes, name = memory.structs.sizes, f"of CPU {cpu} in {spec.name}"
    data_size = PERF_BUFFER_PAGES * _PAGE
    pages = memory.vmalloc(_PAGE + data_size, f"perf buffer {name}")
    buffer = memory.kmalloc(sizes["perf_buffer"], f"perf_buffer {name}")
    event = memory.kmalloc(sizes["perf_event"], f"perf event {name}")
    entry = memory.kmalloc(sizes["bpf_event_entry"], f"perf event entry {name}")
    memory.put_member(buffer, "perf_buffer.size", data_size)
    memory.put_member(buffer, "perf_buffer.data", pages + _PAGE)
    memory.put_member(buffer, "perf_buffer.user_page", pages)
    memory.put_member(event, "perf_event.rb", buffer)
    memory.put_member(event, "perf_event.oncpu", cpu, 4)
    memory.put_member(entry, "bpf_event_entry.event", event)
    return entry


def perf_records(
    placed: PlacedMap, memory: KernelMemory, read: Read, cpu: int = 0
) -> Iterator[bytes]:
    """Data of the samples in a CPU's perf buffer that no reader has taken, oldest first.

    As readers get them: with the zeroes behind that the kernel pads them with.
    """
    if placed.map.type is not MapType.PERF_EVENT_ARRAY:
        raise InputError("is not a perf event array", f"map {placed.map.name}")
    layout = memory.structs
    if not 0 <= cpu < len(placed.percpu_offsets):
        raise InputError(f"there is no CPU {cpu}", f"map {placed.map.name}")
    entry = word(read, placed.values + 8 * cpu)
    event = word(read, entry + layout.offset("bpf_event_entry.event"))
    buffer = word(read, event + layout.offset("perf_event.rb"))
    size = word(read, buffer + layout.offset("perf_buffer.size"))
    data = word(read, buffer + layout.offset("perf_buffer.data"))
    user = word(read, buffer + layout.offset("perf_buffer.user_page"))
    position = word(read, user + layout.offset("perf_event_mmap_page.data_tail"))
    end = word(read, user + layout.offset("perf_event_mmap_page.data_head"))

    def piece(at: int, count: int) -> bytes:
        first = min(count, size - at % size)
        return read(data + at % size, first) + (read(data, count - first) if first < count else b"")

    while position < end:
        header = piece(position, _PERF_HEADER)
        kind, length = int.from_bytes(header[:4], "little"), int.from_bytes(header[6:8], "little")
        if length < 8 or position + length > end:
            raise InputError(f"a perf record of {length} bytes", f"map {placed.map.name}")
        if kind == _SAMPLE:
            raw = int.from_bytes(header[8:12], "little")
            if raw > length - _PERF_HEADER:
                raise InputError(f"a sample of {raw} bytes", f"map {placed.map.name}")
            yield piece(position + _PERF_HEADER, raw)
        position += length


@dataclass(frozen=True, slots=True)
class Filled:
    """Bytes of a buffer that wait for its reader, headers included, and its size."""

    waiting: int
    size: int


def take_all(
    placed: PlacedMap, memory: KernelMemory, read: Read, write: Callable[[int, bytes], None]
) -> Filled:
    """Let the reader of a ring buffer, or of the first CPU's perf buffer, take everything.

    Returns what had been waiting.
    """
    layout = memory.structs
    if placed.map.type is MapType.RINGBUF:
        size = placed.map.max_entries
        reader = placed.values + layout.offset("bpf_ringbuf.consumer_pos")
        writer = placed.values + layout.offset("bpf_ringbuf.producer_pos")
    elif placed.map.type is MapType.PERF_EVENT_ARRAY:
        event = word(read, word(read, placed.values) + layout.offset("bpf_event_entry.event"))
        buffer = word(read, event + layout.offset("perf_event.rb"))
        size = word(read, buffer + layout.offset("perf_buffer.size"))
        user = word(read, buffer + layout.offset("perf_buffer.user_page"))
        reader = user + layout.offset("perf_event_mmap_page.data_tail")
        writer = user + layout.offset("perf_event_mmap_page.data_head")
    else:
        raise InputError("has no reader", f"map {placed.map.name}")
    end = word(read, writer)
    waiting = end - word(read, reader)
    write(reader, end.to_bytes(8, "little"))
    return Filled(waiting, size)
