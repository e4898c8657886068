"""Memory of interpreted programs: named regions, every access checked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from tramposim.errors import GuestFault

__all__ = ["Memory", "MemoryRegion"]

_FIRST = 0x1000_0000
_GAP = 0x1_0000
"""Unmapped bytes between regions, so that no access runs from one into the next."""
_MAX_BYTES = 1 << 30


@dataclass(slots=True)
class MemoryRegion:
    """Bytes at an address; `name` is what errors call it."""

    address: int
    data: bytearray
    name: str
    writable: bool = True


class Memory:
    """Regions at addresses that never overlap; freed addresses are not used again."""

    def __init__(self) -> None:
        self._bases: list[int] = []
        self._regions: list[MemoryRegion] = []
        self._next = _FIRST
        self._total = 0

    def allocate(
        self, size: int, name: str, data: bytes = b"", writable: bool = True
    ) -> MemoryRegion:
        """A new region of `size` bytes that begins with `data`, the rest zero.

        Raises `GuestFault` if the program's memory would exceed 1 GiB.
        """
        self._total += size
        if self._total > _MAX_BYTES:
            raise GuestFault(f"{name}: more than {_MAX_BYTES >> 30} GiB of memory")
        content = bytearray(data) + bytearray(size - len(data))
        region = MemoryRegion(self._next, content, name, writable)
        self._next += (size + _GAP * 2 - 1) // _GAP * _GAP
        index = bisect_left(self._bases, region.address)
        self._bases.insert(index, region.address)
        self._regions.insert(index, region)
        return region

    def place(self, address: int, size: int, name: str, data: bytes = b"") -> MemoryRegion:
        """A new region at a given address; `GuestFault` if another one is there."""
        index = bisect_left(self._bases, address)
        before = self._regions[index - 1] if index else None
        if (before is not None and before.address + len(before.data) > address) or (
            index < len(self._bases) and self._bases[index] < address + size
        ):
            raise GuestFault(f"{name} at {address:#x}, where something is already")
        self._total += size
        region = MemoryRegion(address, bytearray(data) + bytearray(size - len(data)), name)
        self._bases.insert(index, address)
        self._regions.insert(index, region)
        return region

    def release(self, region: MemoryRegion) -> None:
        """Free a region; later accesses to it fault."""
        index = self._bases.index(region.address)
        del self._bases[index], self._regions[index]
        self._total -= len(region.data)

    def _find(self, address: int, size: int, what: str) -> MemoryRegion:
        index = bisect_right(self._bases, address) - 1
        if index >= 0:
            region = self._regions[index]
            if address + size <= region.address + len(region.data):
                return region
            if address < region.address + len(region.data) + _GAP // 2:
                offset = address - region.address
                raise GuestFault(
                    f"{what} of {size} bytes at offset {offset} of {region.name}, "
                    f"which has {len(region.data)} bytes"
                )
        raise GuestFault(f"{what} of {size} bytes at {address:#x}, where nothing is")

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes at `address`; `GuestFault` unless they lie in one region."""
        region = self._find(address, size, "a load")
        start = address - region.address
        return bytes(region.data[start : start + size])

    def write(self, address: int, data: bytes) -> None:
        """Store bytes; `GuestFault` unless they lie in one writable region."""
        region = self._find(address, len(data), "a store")
        if not region.writable:
            raise GuestFault(f"a store to {region.name}, which is read-only")
        start = address - region.address
        region.data[start : start + len(data)] = data

    def load(self, address: int, size: int) -> int:
        """An unsigned little-endian integer."""
        return int.from_bytes(self.read(address, size), "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low `size` bytes of `value`, little endian."""
        self.write(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
