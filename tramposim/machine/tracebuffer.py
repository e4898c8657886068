"""Lines that programs printed with bpf_trace_printk, read from the guest's trace buffer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tramposim.errors import InputError
from tramposim.machine.memory import KernelMemory
from tramposim.machine.placedmap import Read, round8, word

__all__ = ["TraceLine", "trace_lines"]

_HEADER = 16
"""Bytes of a record before its text: time (ns), length of the text, process id."""


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A line: when (ns of the scheduler's clock), by whom, and its text without the end of line."""

    time_ns: int
    cpu: int
    pid: int
    text: str


def trace_lines(memory: KernelMemory, read: Read) -> list[TraceLine]:
    """Everything that is still in the trace buffers of all CPUs, in the order of time."""
    lines = [line for cpu in range(memory.runtime.cpus) for line in _lines_of(memory, read, cpu)]
    return sorted(lines, key=lambda line: line.time_ns)


def _lines_of(memory: KernelMemory, read: Read, cpu: int) -> Iterator[TraceLine]:
    layout = memory.structs
    pointer = memory.percpu_address(memory.runtime.symbols["guest_trace_ring"], cpu)
    ring = word(read, pointer)
    size = word(read, ring + layout.offset("trace_ring.size"))
    position = word(read, ring + layout.offset("trace_ring.tail"))
    end = word(read, ring + layout.offset("trace_ring.head"))
    data = ring + layout.offset("trace_ring.data")

    def piece(at: int, count: int) -> bytes:
        first = min(count, size - at % size)
        return read(data + at % size, first) + (read(data, count - first) if first < count else b"")

    while position < end:
        header = piece(position, _HEADER)
        time, length = int.from_bytes(header[:8], "little"), int.from_bytes(header[8:12], "little")
        if position + _HEADER + length > end:
            raise InputError(f"a line of {length} bytes in the trace buffer of CPU {cpu}")
        text = piece(position + _HEADER, length).decode(errors="replace")
        pid = int.from_bytes(header[12:], "little")
        yield TraceLine(time, cpu, pid, text.removesuffix("\n"))
        position += _HEADER + round8(length)
