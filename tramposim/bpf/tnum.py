"""Tracked numbers: 64-bit values of which some bits are known.

A tnum is (value, mask): bits set in the mask are unknown, the others are those of the value.
Operations as in: Vishwanathan, Shachnai, Narayana, Nagarakatte, "Sound, Precise, and Fast
Abstract Interpretation with Tristate Numbers" (CGO 2022).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["UNKNOWN", "Tnum", "const", "intersect", "span"]

_M = (1 << 64) - 1


class Tnum(NamedTuple):
    """A 64-bit number with known bits `value` outside of the unknown bits `mask`."""

    value: int
    mask: int

    @property
    def is_const(self) -> bool:
        """Whether all bits are known."""
        return self.mask == 0

    @property
    def low(self) -> Tnum:
        """The low 32 bits, zero-extended."""
        return Tnum(self.value & 0xFFFFFFFF, self.mask & 0xFFFFFFFF)

    @property
    def high(self) -> Tnum:
        """The number with its low 32 bits zero."""
        return Tnum(self.value & ~0xFFFFFFFF, self.mask & ~0xFFFFFFFF)

    def cast(self, bits: int) -> Tnum:
        """The low `bits` bits, zero-extended."""
        keep = (1 << bits) - 1
        return Tnum(self.value & keep, self.mask & keep)

    def add(self, other: Tnum) -> Tnum:
        """Sum."""
        unknown = self.mask + other.mask
        known = self.value + other.value
        changed = (unknown + known) ^ known
        mask = (changed | self.mask | other.mask) & _M
        return Tnum(known & ~mask & _M, mask)

    def sub(self, other: Tnum) -> Tnum:
        """Difference."""
        known = self.value - other.value
        changed = (known + self.mask) ^ (known - other.mask)
        mask = (changed | self.mask | other.mask) & _M
        return Tnum(known & ~mask & _M, mask)

    def and_(self, other: Tnum) -> Tnum:
        """Bitwise and."""
        alpha, beta = self.value | self.mask, other.value | other.mask
        value = self.value & other.value
        return Tnum(value, alpha & beta & ~value)

    def or_(self, other: Tnum) -> Tnum:
        """Bitwise or."""
        value = self.value | other.value
        return Tnum(value, (self.mask | other.mask) & ~value)

    def xor(self, other: Tnum) -> Tnum:
        """Bitwise exclusive or."""
        mask = self.mask | other.mask
        return Tnum((self.value ^ other.value) & ~mask, mask)

    def mul(self, other: Tnum) -> Tnum:
        """Product: the known parts multiplied, uncertainty of every partial product added."""
        a, b = self, other
        known = a.value * b.value & _M
        unknown = Tnum(0, 0)
        while a.value or a.mask:
            if a.value & 1:
                unknown = unknown.add(Tnum(0, b.mask))
            elif a.mask & 1:
                unknown = unknown.add(Tnum(0, b.value | b.mask))
            a = Tnum(a.value >> 1, a.mask >> 1)
            b = Tnum(b.value << 1 & _M, b.mask << 1 & _M)
        return Tnum(known, 0).add(unknown)

    def lshift(self, count: int) -> Tnum:
        """Shifted left."""
        return Tnum(self.value << count & _M, self.mask << count & _M)

    def rshift(self, count: int) -> Tnum:
        """Shifted right."""
        return Tnum(self.value >> count, self.mask >> count)

    def arshift(self, count: int, bits: int) -> Tnum:
        """Shifted right, the sign of a number of `bits` bits (known or not) moving in."""
        keep = (1 << bits) - 1
        return Tnum(_arithmetic(self.value, count, bits) & keep,
                    _arithmetic(self.mask, count, bits) & keep)  # fmt: skip


def _arithmetic(value: int, count: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return (value - (1 << bits) if value >> (bits - 1) else value) >> count


UNKNOWN = Tnum(0, _M)


def const(value: int) -> Tnum:
    """A known number."""
    return Tnum(value & _M, 0)


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """What is known of a number that is in both."""
    value, mask = a.value | b.value, a.mask & b.mask
    return Tnum(value & ~mask, mask)


def span(low: int, high: int) -> Tnum:
    """What all numbers from `low` to `high` have in common."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return UNKNOWN
    delta = (1 << bits) - 1
    return Tnum(low & ~delta, delta)
