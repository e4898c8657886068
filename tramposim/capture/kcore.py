"""Memory of a running kernel: the ELF core that /proc/kcore shows."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import Protocol

from tramposim.errors import InputError
from tramposim.spec import Arch

__all__ = ["CoreMemory", "ReadableAt"]

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_MACHINES = {62: Arch.X86_64, 183: Arch.ARM64}
_CORE, _LOAD = 4, 1
_MAX_SEGMENTS = 1 << 16
_MAX_READ = 1 << 20
_LIMIT = 1 << 64


class ReadableAt(Protocol):
    """A file that is read at offsets."""

    def read_at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; raises `OSError` if they cannot be read."""


class CoreMemory:
    """Reads virtual addresses of a core file; `arch` is the file's.

    Raises `InputError` for a file that is no 64-bit little-endian core of a known machine.
    """

    def __init__(self, file: ReadableAt, where: str = "/proc/kcore") -> None:
        self._file = file
        self._where = where
        header = self._bytes(0, _HEADER.size)
        ident, kind, machine, _, _, table, _, _, _, entry, count, *_ = _HEADER.unpack(header)
        if ident[:4] != b"\x7fELF" or ident[4] != 2 or ident[5] != 1 or kind != _CORE:
            raise InputError("is no 64-bit little-endian ELF core", where)
        if machine not in _MACHINES:
            raise InputError(f"is of machine {machine}; known are x86_64 and arm64", where)
        self.arch = _MACHINES[machine]
        if entry != _SEGMENT.size or not 0 < count < _MAX_SEGMENTS:
            raise InputError(f"{count} program headers of {entry} bytes", where)
        segments = []
        data = self._bytes(table, count * _SEGMENT.size)
        for what, _, offset, address, _, size, _, _ in _SEGMENT.iter_unpack(data):
            if what == _LOAD and size and address + size <= _LIMIT:
                segments.append((address, size, offset))
        self._segments = sorted(segments)
        self._starts = [address for address, _, _ in self._segments]
        if not segments:
            raise InputError("has no memory (PT_LOAD segments)", where)

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a virtual address; raises `InputError` if they are not all there."""
        if not 0 <= size <= _MAX_READ:
            raise InputError(f"{size} bytes at {address:#x} are asked for", self._where)
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            start, length, offset = self._segments[index]
            if address + size <= start + length:
                return self._bytes(offset + address - start, size)
        raise InputError(f"has no {size} bytes at {address:#x}", self._where)

    def read_some(self, address: int, most: int) -> bytes:
        """At most so many bytes at a virtual address: those up to the end of its segment."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            start, length, _ = self._segments[index]
            most = max(0, min(most, start + length - address))
        return self.read(address, most or 1)

    def read_int(self, address: int, size: int = 8) -> int:
        """A little-endian unsigned integer."""
        return int.from_bytes(self.read(address, size), "little")

    def _bytes(self, offset: int, size: int) -> bytes:
        try:
            data = self._file.read_at(offset, size)
        except (OSError, OverflowError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{size} bytes at offset {offset:#x}: {reason}", self._where) from None
        if len(data) != size:
            raise InputError(f"ends within the {size} bytes at offset {offset:#x}", self._where)
        return data
