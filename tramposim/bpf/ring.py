"""Ring buffers of interpreted programs: reserve, submit, discard, output, query.

Nobody consumes: records stay until the ring is full, then reserving fails, as in a kernel
without a reader. Facts: kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tramposim.bpf.maps import HostMap
from tramposim.bpf.memory import Memory, MemoryRegion
from tramposim.errors import GuestFault, UnsupportedError
from tramposim.spec import Map

if TYPE_CHECKING:
    from tramposim.bpf.host import Host

__all__ = ["RING_HELPERS", "RingBuffer"]

_HEADER = 8
_NO_WAKEUP, _FORCE_WAKEUP = 1, 2
_QUERIES = 4


@dataclass(slots=True)
class _Record:
    region: MemoryRegion
    content: bytes | None = None
    discarded: bool = False


class RingBuffer(HostMap):
    """A ring buffer; its records are its items, numbered in the order of their reservation."""

    def __init__(self, declared: Map, memory: Memory) -> None:
        super().__init__(declared, memory)
        self.produced = 0
        self._records: list[_Record] = []
        self._open: dict[int, _Record] = {}

    def lookup(self, key: bytes) -> int:
        """Ring buffers have no keys."""
        raise UnsupportedError(f"map {self.declared.name!r}: a ring buffer has no keys")

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """Ring buffers have no keys."""
        raise UnsupportedError(f"map {self.declared.name!r}: a ring buffer has no keys")

    def delete(self, key: bytes) -> int:
        """Ring buffers have no keys."""
        raise UnsupportedError(f"map {self.declared.name!r}: a ring buffer has no keys")

    def reserve(self, size: int) -> int:
        """Address of a record of `size` bytes; 0 if there is no room."""
        room = (size + _HEADER + 7) & ~7
        if self.produced + room > self.declared.max_entries - 1:
            return 0
        self.produced += room
        record = _Record(self.memory.allocate(size, f"a record of map {self.declared.name}"))
        self._records.append(record)
        self._open[record.region.address] = record
        return record.region.address

    def close(self, address: int, *, discard: bool) -> bool:
        """Submit or discard a record; False if none is reserved there."""
        record = self._open.pop(address, None)
        if record is None:
            return False
        record.content, record.discarded = bytes(record.region.data), discard
        self.memory.release(record.region)
        return True

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Numbers and contents of what a reader would get."""
        number = 0
        for record in self._records:
            if record.content is None:
                return
            if not record.discarded:
                yield number.to_bytes(4, "little"), record.content
                number += 1


def _ring(host: Host, handle: int) -> RingBuffer:
    target = host.map(handle)
    if not isinstance(target, RingBuffer):
        raise GuestFault(f"map {target.declared.name!r} is no ring buffer")
    return target


def _reserve(host: Host, arguments: Sequence[int]) -> int:
    handle, size, flags = arguments[:3]
    return 0 if flags or size >= 1 << 30 else _ring(host, handle).reserve(size)


def _close(host: Host, address: int, discard: bool) -> int:
    rings = (made for made in host.maps.values() if isinstance(made, RingBuffer))
    if not any(ring.close(address, discard=discard) for ring in rings):
        raise GuestFault(f"no record is reserved at {address:#x}")
    return 0


def _output(host: Host, arguments: Sequence[int]) -> int:
    handle, data, size, flags = arguments[:4]
    if flags & ~(_NO_WAKEUP | _FORCE_WAKEUP):
        return -errno.EINVAL
    ring = _ring(host, handle)
    content = host.memory.read(data, size)
    address = ring.reserve(size)
    if not address:
        return -errno.EAGAIN
    host.memory.write(address, content)
    ring.close(address, discard=False)
    return 0


def _query(host: Host, arguments: Sequence[int]) -> int:
    """Bytes to read, size, consumer's and producer's position."""
    ring = _ring(host, arguments[0])
    answers = (ring.produced, ring.declared.max_entries, 0, ring.produced)
    return answers[arguments[1]] if arguments[1] < _QUERIES else 0


RING_HELPERS: dict[str, Callable[[Host, Sequence[int]], int]] = {
    "bpf_ringbuf_reserve": _reserve,
    "bpf_ringbuf_submit": lambda host, arguments: _close(host, arguments[0], False),
    "bpf_ringbuf_discard": lambda host, arguments: _close(host, arguments[0], True),
    "bpf_ringbuf_output": _output,
    "bpf_ringbuf_query": _query,
}
"""By name; r1 to r5 in, r0 out."""
