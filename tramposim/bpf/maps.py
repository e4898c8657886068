"""Maps of interpreted programs, with the kernel's answers (errno) and its limits.

Keys and values are bytes. A value lives in memory that programs may access; on deletion its
place is given back and used again by a later insertion, as preallocated maps do.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tramposim.bpf.memory import Memory, MemoryRegion
from tramposim.errors import UnsupportedError
from tramposim.spec import Map, MapFlag, MapType

__all__ = ["ArrayMap", "HashMap", "HostMap", "make_map"]

ANY, NOEXIST, EXIST = 0, 1, 2


class HostMap:
    """What all maps answer; addresses are in the program's memory."""

    def __init__(self, declared: Map, memory: Memory) -> None:
        self.declared = declared
        self.memory = memory
        self.handle = memory.allocate(8, f"map {declared.name}", writable=False)
        self.stride = declared.value_size + 7 & ~7

    def lookup(self, key: bytes) -> int:
        """Address of the value, or 0."""
        raise NotImplementedError

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """0 or a negative errno."""
        raise NotImplementedError

    def delete(self, key: bytes) -> int:
        """0 or a negative errno."""
        raise NotImplementedError

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values."""
        raise NotImplementedError

    def _values(self) -> MemoryRegion:
        declared, size = self.declared, self.declared.value_size
        content = b"".join(
            declared.content[start : start + size].ljust(self.stride, b"\0")
            for start in range(0, len(declared.content), size)
        )
        writable = not declared.flags & MapFlag.RDONLY_PROG
        name = f"the values of map {declared.name}"
        return self.memory.allocate(self.stride * declared.max_entries, name, content, writable)


class ArrayMap(HostMap):
    """Array and per-CPU array (of the one CPU that programs run on)."""

    def __init__(self, declared: Map, memory: Memory) -> None:
        super().__init__(declared, memory)
        self.values = self._values()

    def lookup(self, key: bytes) -> int:
        """Address of the value, or 0."""
        index = int.from_bytes(key, "little")
        if index >= self.declared.max_entries:
            return 0
        return self.values.address + index * self.stride

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """0 or a negative errno."""
        if flags > EXIST:
            return -errno.EINVAL
        address = self.lookup(key)
        if address == 0:
            return -errno.E2BIG
        if flags == NOEXIST:
            return -errno.EEXIST
        self.memory.write(address, value)
        return 0

    def delete(self, key: bytes) -> int:
        """0 or a negative errno."""
        return -errno.EINVAL

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values."""
        for index in range(self.declared.max_entries):
            key = index.to_bytes(4, "little")
            yield key, self.memory.read(self.lookup(key), self.declared.value_size)


class HashMap(HostMap):
    """Hash map; when full, an LRU map drops the element used longest ago."""

    def __init__(self, declared: Map, memory: Memory) -> None:
        super().__init__(declared, memory)
        values = self._values()
        self._free = [values.address + self.stride * i for i in range(declared.max_entries)]
        self._free.reverse()
        self._elements: dict[bytes, int] = {}
        self._evicts = declared.type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)

    def lookup(self, key: bytes) -> int:
        """Address of the value, or 0."""
        address = self._elements.get(key, 0)
        if address and self._evicts:
            self._elements[key] = self._elements.pop(key)
        return address

    def update(self, key: bytes, value: bytes, flags: int) -> int:
        """0 or a negative errno."""
        if flags > EXIST:
            return -errno.EINVAL
        address = self._elements.get(key)
        if address is not None and flags == NOEXIST:
            return -errno.EEXIST
        if address is None:
            if flags == EXIST:
                return -errno.ENOENT
            if not self._free and self._evicts:
                self._free.append(self._elements.pop(next(iter(self._elements))))
            if not self._free:
                return -errno.E2BIG
            address = self._elements[key] = self._free.pop()
        self.memory.write(address, value)
        return 0

    def delete(self, key: bytes) -> int:
        """0 or a negative errno."""
        address = self._elements.pop(key, None)
        if address is None:
            return -errno.ENOENT
        self._free.append(address)
        return 0

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values."""
        for key, address in self._elements.items():
            yield key, self.memory.read(address, self.declared.value_size)


_TYPES: dict[MapType, type[HostMap]] = {
    MapType.ARRAY: ArrayMap,
    MapType.PERCPU_ARRAY: ArrayMap,
    MapType.HASH: HashMap,
    MapType.LRU_HASH: HashMap,
    MapType.PERCPU_HASH: HashMap,
    MapType.LRU_PERCPU_HASH: HashMap,
}


def make_map(declared: Map, memory: Memory) -> HostMap:
    """A map as declared; `UnsupportedError` for a type that is not interpreted."""
    if declared.type not in _TYPES:
        raise UnsupportedError(f"map {declared.name!r}: type {declared.type} is not interpreted")
    return _TYPES[declared.type](declared, memory)
