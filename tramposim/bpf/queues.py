"""Queues, stacks and perf buffers of interpreted programs.

Facts: kernel/bpf/queue_stack_maps.c, bpf_perf_event_output in kernel/trace/bpf_trace.c,
kernel/events/ring_buffer.c. Nobody reads perf buffers: they fill up.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tramposim.bpf.maps import HostMap
from tramposim.bpf.memory import Memory
from tramposim.errors import GuestFault, UnsupportedError
from tramposim.spec import Map, MapType

if TYPE_CHECKING:
    from tramposim.bpf.host import Host

__all__ = ["PERF_BUFFER_PAGES", "QUEUE_HELPERS", "PerfBuffers", "QueueMap"]

PERF_BUFFER_PAGES = 8
"""Data pages of a perf buffer: what readers usually ask for (libbpf's examples)."""

_PAGE = 4096
_ANY, _EXIST = 0, 2
_CURRENT_CPU = 0xFFFFFFFF
_SAMPLE_HEADER = 12
"""struct perf_event_header and the length of the raw data behind it."""


class _Keyless(HostMap):
    """A map without keys that programs could look up."""

    def lookup(self, key: bytes) -> int:
        """Raises `UnsupportedError`."""
        raise UnsupportedError(f"map {self.declared.name!r}: a {self.declared.type} has no keys")

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Raises `UnsupportedError`."""
        raise UnsupportedError(f"map {self.declared.name!r}: a {self.declared.type} has no keys")

    def delete(self, key: bytes) -> int:
        """Raises `UnsupportedError`."""
        raise UnsupportedError(f"map {self.declared.name!r}: a {self.declared.type} has no keys")


def _numbered(values: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for number, value in enumerate(values):
        yield number.to_bytes(4, "little"), value


class QueueMap(_Keyless):
    """A queue or a stack; its items are numbered from the oldest."""

    def __init__(self, declared: Map, memory: Memory) -> None:
        super().__init__(declared, memory)
        self.values: deque[bytes] = deque()

    def push(self, value: bytes, flags: int) -> int:
        """0 or a negative errno; with BPF_EXIST the oldest value of a full one gives way."""
        if flags not in (_ANY, _EXIST):
            return -errno.EINVAL
        if len(self.values) == self.declared.max_entries:
            if flags != _EXIST:
                return -errno.E2BIG
            self.values.popleft()
        self.values.append(value)
        return 0

    def take(self, *, remove: bool) -> bytes | None:
        """The oldest value of a queue, the newest of a stack; None if there is none."""
        if not self.values:
            return None
        newest = self.declared.type is MapType.STACK
        value = self.values[-1 if newest else 0]
        if remove:
            del self.values[-1 if newest else 0]
        return value

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Numbers and values."""
        return _numbered(iter(self.values))


class PerfBuffers(_Keyless):
    """A perf event array with an open buffer on the one CPU; its items are the samples."""

    def __init__(self, declared: Map, memory: Memory) -> None:
        super().__init__(declared, memory)
        self.samples: list[bytes] = []
        self._used = 0

    def output(self, flags: int, data: bytes) -> int:
        """0 or a negative errno."""
        if flags >> 32:
            return -errno.EINVAL
        index = 0 if flags == _CURRENT_CPU else flags
        if index >= self.declared.max_entries:
            return -errno.E2BIG
        if index:
            return -errno.ENOENT
        # The length is stored with the data, and both end at a multiple of eight.
        padded = (len(data) + 4 + 7 & ~7) - 4
        if self._used + _SAMPLE_HEADER + padded > PERF_BUFFER_PAGES * _PAGE - 1:
            return -errno.ENOSPC
        self._used += _SAMPLE_HEADER + padded
        self.samples.append(data.ljust(padded, b"\0"))
        return 0

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Numbers and contents of what a reader gets."""
        return _numbered(iter(self.samples))


def _queue(host: Host, handle: int) -> QueueMap:
    target = host.map(handle)
    if not isinstance(target, QueueMap):
        raise GuestFault(f"map {target.declared.name!r} is no queue or stack")
    return target


def _push(host: Host, arguments: Sequence[int]) -> int:
    queue = _queue(host, arguments[0])
    value = host.memory.read(arguments[1], queue.declared.value_size)
    return queue.push(value, arguments[2])


def _take(host: Host, arguments: Sequence[int], remove: bool) -> int:
    queue = _queue(host, arguments[0])
    value = queue.take(remove=remove)
    host.memory.write(arguments[1], bytes(queue.declared.value_size) if value is None else value)
    return -errno.ENOENT if value is None else 0


def _perf_output(host: Host, arguments: Sequence[int]) -> int:
    """bpf_perf_event_output(ctx, map, flags, data, size)."""
    target = host.map(arguments[1])
    if not isinstance(target, PerfBuffers):
        raise GuestFault(f"map {target.declared.name!r} is no perf event array")
    return target.output(arguments[2], host.memory.read(arguments[3], arguments[4]))


QUEUE_HELPERS: dict[str, Callable[[Host, Sequence[int]], int]] = {
    "bpf_map_push_elem": _push,
    "bpf_map_pop_elem": lambda host, arguments: _take(host, arguments, True),
    "bpf_map_peek_elem": lambda host, arguments: _take(host, arguments, False),
    "bpf_perf_event_output": _perf_output,
}
"""By name; r1 to r5 in, r0 out."""
