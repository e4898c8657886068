"""The addresses of a captured program's arena, which records hold nowhere but in the code.

Its kernel address is the constant in the arena's base register (x86_64 r12, arm64 x28); the
upper half of its user address is what an address space cast inserts.
"""

from __future__ import annotations

from functools import lru_cache

from tramposim.spec import Arch

__all__ = ["arena_addresses"]

_MOVE_WIDE = 0x12800000
"""movn, movz or movk, of either width."""
_BASE_REGISTER = 28


@lru_cache(maxsize=256)
def arena_addresses(arch: Arch, code: bytes) -> tuple[int, int]:
    """Kernel and user address of the arena; 0 for one that the code does not name."""
    return _x86_64(code) if arch is Arch.X86_64 else _arm64(code)


def _x86_64(code: bytes) -> tuple[int, int]:
    at = code.find(b"\x49\xbc")
    base = int.from_bytes(code[at + 2 : at + 10], "little") if at >= 0 else 0
    for at in range(len(code) - 11):
        # shl reg, 32; or reg, imm32 (short form for rax)
        shifted = code[at : at + 2] in (b"\x48\xc1", b"\x49\xc1") and code[at + 3] == 32
        if shifted and code[at + 2] & 0xF8 == 0xE0:
            skip = 2 if code[at + 5] == 0x0D else 3
            return base, int.from_bytes(code[at + 4 + skip : at + 8 + skip], "little") << 32
    return base, 0


def _arm64(code: bytes) -> tuple[int, int]:
    words = [int.from_bytes(code[at : at + 4], "little") for at in range(0, len(code), 4)]
    moves = [word for word in words if word & 31 == _BASE_REGISTER and _is_move(word)]
    base = _constant(moves)
    for at, word in enumerate(words):
        register = word & 31
        # lsl xd, xd, #32 behind the constant
        if word & 0xFFFFFC00 != 0xD3607C00 or register != word >> 5 & 31:
            continue
        first = at
        while first and words[first - 1] & 31 == register and _is_move(words[first - 1]):
            first -= 1
        return base, (_constant(words[first:at]) & 0xFFFFFFFF) << 32
    return base, 0


def _is_move(word: int) -> bool:
    return word & 0x1F800000 == _MOVE_WIDE


def _constant(moves: list[int]) -> int:
    """The register after a sequence of movn, movz and movk."""
    value = 0
    for word in moves:
        shift, imm = (word >> 21 & 3) * 16, word >> 5 & 0xFFFF
        kind = word >> 29 & 3
        if kind == 3:
            value = value & ~(0xFFFF << shift) | imm << shift
        else:
            mask = (1 << 64) - 1 if word >> 31 else (1 << 32) - 1
            value = (imm << shift if kind == 2 else ~(imm << shift)) & mask
    return value
