"""Arithmetic on what the verifier knows of numbers.

Source: kernel/bpf/verifier.c (adjust_scalar_min_max_vals).
"""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import M32, M64, signed, swap
from tramposim.bpf.scalars import S32_MAX, S32_MIN, S64_MAX, S64_MIN, Scalar, load, truncated
from tramposim.bpf.tnum import Tnum

__all__ = ["arithmetic", "swapped"]


def arithmetic(
    op: int, dst: Scalar, src: Scalar, wide: bool, is_signed: bool = False, recent: bool = True
) -> Scalar:
    """Result of operation bits `op`; 32-bit results are zero-extended.

    `is_signed` is for divisions. `recent`: kernels from 7.0 on know more of division, negation,
    products and sums that wrap around.
    """
    bits = 64 if wide else 32
    known = src.bits if wide else src.bits.low
    if op in (isa.DIV, isa.MOD):
        if known.mask or known.value == 0 or not recent:
            return load(bits // 8)
        new = _divided(op, dst, known.value, wide, is_signed)
        return new.sync() if wide else truncated(new, 4)
    shifts = op in (isa.LSH, isa.RSH, isa.ARSH)
    if op not in _OPERATIONS or (shifts and (known.mask or known.value >= bits)):
        return load(bits // 8)
    new = _OPERATIONS[op](dst, src, wide)
    if not recent and op in (isa.ADD, isa.SUB, isa.MUL):
        _forget_wrapping(op, new, _bounds(dst, wide), _bounds(src, wide), wide)
    return new.sync() if wide else truncated(new, 4)


def _forget_wrapping(
    op: int, new: Scalar, a: tuple[int, int, int, int], b: tuple[int, int, int, int], wide: bool
) -> None:
    """What kernels before 7.0 do not conclude."""
    bits = 64 if wide else 32
    _, _, low, high = _bounds(new, wide)
    if op == isa.MUL:
        if (
            a[2] < 0
            or b[2] < 0
            or a[1] > (M32 if wide else 0xFFFF)
            or b[1] > (M32 if wide else 0xFFFF)
        ):
            _set(new, wide, None, None)
        return
    wraps = a[1] + b[1] >> bits if op == isa.ADD else a[0] < b[1]
    if wraps:
        _set(new, wide, None, (low, high))


def _divided(op: int, dst: Scalar, divisor: int, wide: bool, is_signed: bool) -> Scalar:
    bits = 64 if wide else 32
    umin, umax, smin, smax = _bounds(dst, wide)
    if not is_signed:
        if op == isa.DIV:
            return _set(Scalar(), wide, (umin // divisor, umax // divisor), None)
        if umax < divisor:
            return dst.copy()
        return _set(Scalar(), wide, (0, min(umax, divisor - 1)), None)
    by = signed(divisor, bits)
    if op == isa.DIV:
        least = -(1 << bits - 1)
        if by == -1 and smin == least:
            # The least number divided by -1 is itself.
            return _set(Scalar(), wide, None, (least, least) if smax == least else None)
        ends = sorted(_toward_zero(end, by) for end in (smin, smax))
        return _set(Scalar(), wide, None, (ends[0], ends[1]))
    most = abs(by) - 1
    if -most <= smin and smax <= most:
        return dst.copy()
    low = 0 if smin >= 0 else max(smin, -most)
    high = 0 if smax <= 0 else min(smax, most)
    return _set(Scalar(), wide, None, (low, high))


def _toward_zero(number: int, by: int) -> int:
    quotient = abs(number) // abs(by)
    return -quotient if (number < 0) != (by < 0) else quotient


def swapped(scalar: Scalar, bits: int, reverse: bool) -> Scalar:
    """Its low `bits` bits, byte-reversed if `reverse`, zero-extended."""
    known = Tnum(swap(scalar.bits.value, bits, reverse), swap(scalar.bits.mask, bits, reverse))
    return Scalar(known).sync()


def _set(new: Scalar, wide: bool, u: tuple[int, int] | None, s: tuple[int, int] | None) -> Scalar:
    """A result whose bounds at its width are given; None: nothing is known."""
    if wide:
        new.umin, new.umax = u or (0, M64)
        new.smin, new.smax = s or (S64_MIN, S64_MAX)
    else:
        new.umin32, new.umax32 = u or (0, M32)
        new.smin32, new.smax32 = s or (S32_MIN, S32_MAX)
    return new


def _bounds(scalar: Scalar, wide: bool) -> tuple[int, int, int, int]:
    if wide:
        return scalar.umin, scalar.umax, scalar.smin, scalar.smax
    return scalar.umin32, scalar.umax32, scalar.smin32, scalar.smax32


def _modulo(low: int, high: int, bits: int) -> tuple[int, int] | None:
    """Bounds of unsigned results, if all or none of them wrapped around."""
    return (low & (1 << bits) - 1, high & (1 << bits) - 1) if low >> bits == high >> bits else None


def _fitting(low: int, high: int, bits: int) -> tuple[int, int] | None:
    """Bounds of signed results, if none of them overflowed."""
    return (low, high) if -(1 << bits - 1) <= low and high < 1 << bits - 1 else None


def _add(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    a, b, bits = _bounds(dst, wide), _bounds(src, wide), 64 if wide else 32
    new = Scalar(dst.bits.add(src.bits))
    return _set(new, wide, _modulo(a[0] + b[0], a[1] + b[1], bits),
                _fitting(a[2] + b[2], a[3] + b[3], bits))  # fmt: skip


def _sub(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    a, b, bits = _bounds(dst, wide), _bounds(src, wide), 64 if wide else 32
    new = Scalar(dst.bits.sub(src.bits))
    return _set(new, wide, _modulo(a[0] - b[1], a[1] - b[0], bits),
                _fitting(a[2] - b[3], a[3] - b[2], bits))  # fmt: skip


def _mul(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    a, b, bits = _bounds(dst, wide), _bounds(src, wide), 64 if wide else 32
    new = Scalar(dst.bits.mul(src.bits))
    high = a[1] * b[1]
    products = [x * y for x in a[2:] for y in b[2:]]
    return _set(new, wide, None if high >> bits else (a[0] * b[0], high),
                _fitting(min(products), max(products), bits))  # fmt: skip


def _bitwise(new: Scalar, wide: bool, low: int, high: int) -> Scalar:
    bits = 64 if wide else 32
    same_sign = signed(low, bits) <= signed(high, bits)
    return _set(new, wide, (low, high),
                (signed(low, bits), signed(high, bits)) if same_sign else None)  # fmt: skip


def _and(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    bits = dst.bits.and_(src.bits)
    known = bits if wide else bits.low
    high = min(_bounds(dst, wide)[1], _bounds(src, wide)[1])
    return _bitwise(Scalar(bits), wide, known.value, high)


def _or(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    bits = dst.bits.or_(src.bits)
    known = bits if wide else bits.low
    low = max(_bounds(dst, wide)[0], _bounds(src, wide)[0])
    return _bitwise(Scalar(bits), wide, low, known.value | known.mask)


def _xor(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    bits = dst.bits.xor(src.bits)
    known = bits if wide else bits.low
    return _bitwise(Scalar(bits), wide, known.value, known.value | known.mask)


def _lsh(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    count = (src.bits if wide else src.bits.low).value
    low, high, _, _ = _bounds(dst, wide)
    bits = dst.bits if wide else dst.bits.low
    width = 64 if wide else 32
    new = Scalar(bits.lshift(count))
    unsigned = None if high << count >> width else (low << count, high << count)
    is_signed = None
    if wide and count == 32:
        is_signed = (dst.smin32 << 32, dst.smax32 << 32)
    return _set(new, wide, unsigned, is_signed)


def _rsh(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    count = (src.bits if wide else src.bits.low).value
    low, high, _, _ = _bounds(dst, wide)
    bits = dst.bits if wide else dst.bits.low
    return _set(Scalar(bits.rshift(count)), wide, (low >> count, high >> count), None)


def _arsh(dst: Scalar, src: Scalar, wide: bool) -> Scalar:
    count = (src.bits if wide else src.bits.low).value
    _, _, low, high = _bounds(dst, wide)
    new = Scalar(dst.bits.arshift(count, 64 if wide else 32))
    return _set(new, wide, None, (low >> count, high >> count))


_OPERATIONS = {
    isa.ADD: _add, isa.SUB: _sub, isa.MUL: _mul, isa.AND: _and, isa.OR: _or, isa.XOR: _xor,
    isa.LSH: _lsh, isa.RSH: _rsh, isa.ARSH: _arsh,
}  # fmt: skip
