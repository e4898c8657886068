"""Relocations of the guest runtime's objects, both architectures.

Type numbers and their meaning: System V psABI for x86_64 (section 4.4), ELF for the Arm
64-bit Architecture (section 5.7).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from tramposim.errors import BuildError, UnsupportedError
from tramposim.spec import Arch

__all__ = ["apply_relocation"]

_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _store(code: bytearray, at: int, value: int, size: int, signed: bool) -> None:
    low = -(1 << (8 * size - 1)) if signed else 0
    high = (1 << (8 * size - 1)) if signed else 1 << (8 * size)
    if not low <= value < high:
        raise BuildError(f"relocated value {value:#x} does not fit {size} bytes")
    struct.pack_into(
        {4: "<i", 8: "<q"}[size] if signed else {4: "<I", 8: "<Q"}[size], code, at, value
    )


def _x86_64(code: bytearray, at: int, place: int, kind: int, value: int) -> bool:
    if kind == 1:
        _store(code, at, value & _MASK, 8, False)
    elif kind in (2, 4):
        _store(code, at, _signed(value - place), 4, True)
    elif kind == 10:
        _store(code, at, value & _MASK, 4, False)
    elif kind == 11:
        _store(code, at, _signed(value), 4, True)
    else:
        return False
    return True


def _insert(code: bytearray, at: int, mask: int, bits: int) -> None:
    (word,) = struct.unpack_from("<I", code, at)
    struct.pack_into("<I", code, at, (word & ~mask) | (bits & mask))


_LDST_SHIFT = {278: 0, 284: 1, 285: 2, 286: 3, 299: 4}


def _arm64(code: bytearray, at: int, place: int, kind: int, value: int) -> bool:
    if kind == 257:
        _store(code, at, value & _MASK, 8, False)
    elif kind == 261:
        _store(code, at, _signed(value - place), 4, True)
    elif kind == 275:
        pages = _signed((value & ~0xFFF) - (place & ~0xFFF)) >> 12
        if not -(1 << 20) <= pages < 1 << 20:
            raise BuildError(f"adrp at {place:#x} cannot reach {value:#x}")
        _insert(code, at, 0x60FFFFE0, (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)
    elif kind == 277:
        _insert(code, at, 0xFFF << 10, (value & 0xFFF) << 10)
    elif kind in _LDST_SHIFT:
        _insert(code, at, 0xFFF << 10, (value & 0xFFF) >> _LDST_SHIFT[kind] << 10)
    elif kind in (282, 283):
        words = _signed(value - place) >> 2
        if not -(1 << 25) <= words < 1 << 25:
            raise BuildError(f"branch at {place:#x} cannot reach {value:#x}")
        _insert(code, at, 0x3FFFFFF, words)
    else:
        return False
    return True


_APPLY: dict[Arch, Callable[[bytearray, int, int, int, int], bool]] = {
    Arch.X86_64: _x86_64,
    Arch.ARM64: _arm64,
}


def apply_relocation(
    arch: Arch, code: bytearray, at: int, place: int, kind: int, value: int
) -> None:
    """Writes symbol plus addend (`value`) into `code` at offset `at`, address `place`.

    Raises `UnsupportedError` for an unknown type, `BuildError` if the target is too far.
    """
    if not _APPLY[arch](code, at, place, kind, value):
        raise UnsupportedError(f"{arch}: relocation type {kind} at {place:#x} is not known")
