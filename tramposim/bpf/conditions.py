"""Conditional jumps on what is known of two numbers: the outcome, and what it teaches.

Source: kernel/bpf/verifier.c (is_scalar_branch_taken, regs_refine_cond_op).
"""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.bpf import tnum
from tramposim.bpf.alu import signed
from tramposim.bpf.scalars import Scalar
from tramposim.bpf.tnum import Tnum

__all__ = ["outcome", "refine"]

NOT_SET = 0x100
"""The condition that `isa.JSET` is false."""
_OPPOSITE = {isa.JEQ: isa.JNE, isa.JNE: isa.JEQ, isa.JSET: NOT_SET, isa.JGT: isa.JLE,
             isa.JGE: isa.JLT, isa.JLT: isa.JGE, isa.JLE: isa.JGT, isa.JSGT: isa.JSLE,
             isa.JSGE: isa.JSLT, isa.JSLT: isa.JSGE, isa.JSLE: isa.JSGT}  # fmt: skip
_SWAPPED = {isa.JGT: isa.JLT, isa.JGE: isa.JLE, isa.JSGT: isa.JSLT, isa.JSGE: isa.JSLE}
_REFLEXIVE = {isa.JEQ: True, isa.JGE: True, isa.JLE: True, isa.JSGE: True, isa.JSLE: True,
              isa.JNE: False, isa.JGT: False, isa.JLT: False, isa.JSGT: False,
              isa.JSLT: False}  # fmt: skip

Bounds = tuple[int, int, int, int]


def _bounds(scalar: Scalar, wide: bool) -> Bounds:
    if wide:
        return scalar.umin, scalar.umax, scalar.smin, scalar.smax
    return scalar.umin32, scalar.umax32, scalar.smin32, scalar.smax32


def outcome(op: int, a: Scalar, b: Scalar, wide: bool, same: bool) -> bool | None:
    """Whether `a op b` holds, if that is known; `same`: both are one register."""
    if same:
        if op in _REFLEXIVE:
            return _REFLEXIVE[op]
        known = a.bits if wide else a.bits.low
        if op == isa.JSET:
            least, _, low, high = _bounds(a, wide)
            if known == Tnum(0, 0):
                return False
            return True if least > 0 or high < 0 or low > 0 or known.value else None
    if op in (isa.JEQ, isa.JNE):
        equal = _equal(a, b, wide)
        return equal if equal is None or op == isa.JEQ else not equal
    if op == isa.JSET:
        return _common_bits(a, b, wide)
    if op in (isa.JLT, isa.JLE, isa.JSLT, isa.JSLE):
        greater = _ordered(_OPPOSITE[op], _bounds(a, wide), _bounds(b, wide))
        return None if greater is None else not greater
    return _ordered(op, _bounds(a, wide), _bounds(b, wide))


def _ordered(op: int, a: Bounds, b: Bounds) -> bool | None:
    first = 2 if op in (isa.JSGT, isa.JSGE) else 0
    low_a, high_a, low_b, high_b = *a[first : first + 2], *b[first : first + 2]
    if op in (isa.JGT, isa.JSGT):
        return True if low_a > high_b else False if high_a <= low_b else None
    return True if low_a >= high_b else False if high_a < low_b else None


def _equal(a: Scalar, b: Scalar, wide: bool) -> bool | None:
    bits_a, bits_b = (a.bits, b.bits) if wide else (a.bits.low, b.bits.low)
    if bits_a.is_const and bits_b.is_const:
        return bits_a.value == bits_b.value
    if (bits_a.value ^ bits_b.value) & ~(bits_a.mask | bits_b.mask):
        return False
    widths = (True, False) if wide else (False,)
    for width in widths:
        x, y = _bounds(a, width), _bounds(b, width)
        if x[0] > y[1] or x[1] < y[0] or x[2] > y[3] or x[3] < y[2]:
            return False
    return None


def _common_bits(a: Scalar, b: Scalar, wide: bool) -> bool | None:
    bits_a, bits_b = (a.bits, b.bits) if wide else (a.bits.low, b.bits.low)
    if not bits_b.is_const:
        bits_a, bits_b = bits_b, bits_a
    if not bits_b.is_const:
        return None
    if bits_a.value & bits_b.value:
        return True
    return None if (bits_a.value | bits_a.mask) & bits_b.value else False


def refine(op: int, taken: bool, a: Scalar, b: Scalar, wide: bool) -> tuple[Scalar, Scalar]:
    """Both numbers, knowing whether `a op b` held."""
    a, b = a.copy(), b.copy()
    condition = op if taken else _OPPOSITE[op]
    if condition in _SWAPPED:
        _apply(_SWAPPED[condition], b, a, wide)
    else:
        _apply(condition, a, b, wide)
    return a.sync(), b.sync()


def _apply(condition: int, a: Scalar, b: Scalar, wide: bool) -> None:
    """Narrow both numbers in place; the orders that come here are < and <=."""
    if condition == isa.JEQ:
        _make_equal(a, b, wide)
    elif condition == isa.JNE:
        _exclude(a, b, wide)
        _exclude(b, a, wide)
    elif condition in (isa.JSET, NOT_SET):
        _set_bits(condition == isa.JSET, a, b, wide)
    else:
        _order(condition, a, b, wide)


def _order(condition: int, a: Scalar, b: Scalar, wide: bool) -> None:
    gap = 1 if condition in (isa.JLT, isa.JSLT) else 0
    if condition in (isa.JLT, isa.JLE):
        if wide:
            a.umax, b.umin = min(a.umax, b.umax - gap), max(b.umin, a.umin + gap)
        else:
            a.umax32, b.umin32 = min(a.umax32, b.umax32 - gap), max(b.umin32, a.umin32 + gap)
    elif wide:
        a.smax, b.smin = min(a.smax, b.smax - gap), max(b.smin, a.smin + gap)
    else:
        a.smax32, b.smin32 = min(a.smax32, b.smax32 - gap), max(b.smin32, a.smin32 + gap)


def _make_equal(a: Scalar, b: Scalar, wide: bool) -> None:
    for x, y in ((a, b), (b, a)):
        if wide:
            x.umin, x.umax = max(x.umin, y.umin), min(x.umax, y.umax)
            x.smin, x.smax = max(x.smin, y.smin), min(x.smax, y.smax)
        else:
            x.umin32, x.umax32 = max(x.umin32, y.umin32), min(x.umax32, y.umax32)
            x.smin32, x.smax32 = max(x.smin32, y.smin32), min(x.smax32, y.smax32)
    if wide:
        a.bits = b.bits = tnum.intersect(a.bits, b.bits)
    else:
        common = tnum.intersect(a.bits.low, b.bits.low)
        for x in (a, b):
            high = x.bits.high
            x.bits = Tnum(high.value | common.value, high.mask | common.mask)


def _exclude(a: Scalar, b: Scalar, wide: bool) -> None:
    """A bound of `a` that is the known number `b` moves."""
    known = b.bits if wide else b.bits.low
    if not known.is_const:
        return
    value = known.value
    if wide:
        a.umin += a.umin == value
        a.umax -= a.umax == value
        a.smin += a.smin == signed(value, 64)
        a.smax -= a.smax == signed(value, 64)
    else:
        a.umin32 += a.umin32 == value
        a.umax32 -= a.umax32 == value
        a.smin32 += a.smin32 == signed(value, 32)
        a.smax32 -= a.smax32 == signed(value, 32)


def _set_bits(are_set: bool, a: Scalar, b: Scalar, wide: bool) -> None:
    """`a & b` is not zero, which says something if `b` is one bit; or it is zero."""
    known = b.bits if wide else b.bits.low
    if not known.is_const:
        a, b = b, a
        known = b.bits if wide else b.bits.low
        if not known.is_const:
            return
    value = known.value
    if not are_set:
        a.bits = Tnum(a.bits.value & ~value, a.bits.mask & ~value)
    elif value & (value - 1) == 0:
        a.bits = Tnum(a.bits.value | value, a.bits.mask & ~value)
