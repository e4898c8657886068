"""Arithmetic of eBPF (RFC 9669, section 4.1) on 64-bit register values."""

from __future__ import annotations

from collections.abc import Callable

from tramposim.bpf import insn as isa

__all__ = ["COMPARISONS", "M32", "M64", "arithmetic", "signed", "swap"]

M32 = (1 << 32) - 1
M64 = (1 << 64) - 1


def signed(value: int, bits: int) -> int:
    """The low `bits` bits of a value as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _divide(a: int, b: int) -> int:
    """Quotient rounded toward zero."""
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def arithmetic(op: int, dst: int, src: int, bits: int, is_signed: bool) -> int:
    """Result of operation bits `op`; zero-extended to 64 bits when `bits` is 32.

    Division by zero gives zero, the remainder of it the dividend; shift counts are masked.
    """
    mask = (1 << bits) - 1
    a, b = dst & mask, src & mask
    if op in _SIMPLE:
        return _SIMPLE[op](a, b) & mask
    if op == isa.LSH:
        return a << (b & bits - 1) & mask
    if op == isa.RSH:
        return a >> (b & bits - 1)
    if op == isa.ARSH:
        return signed(a, bits) >> (b & bits - 1) & mask
    if b == 0:
        return 0 if op == isa.DIV else a
    if is_signed:
        x, y = signed(a, bits), signed(b, bits)
        quotient = _divide(x, y)
        return (quotient if op == isa.DIV else x - quotient * y) & mask
    return a // b if op == isa.DIV else a % b


_SIMPLE: dict[int, Callable[[int, int], int]] = {
    isa.ADD: lambda a, b: a + b,
    isa.SUB: lambda a, b: a - b,
    isa.MUL: lambda a, b: a * b,
    isa.OR: lambda a, b: a | b,
    isa.AND: lambda a, b: a & b,
    isa.XOR: lambda a, b: a ^ b,
    isa.MOV: lambda a, b: b,
}

COMPARISONS: dict[int, Callable[[int, int, int], bool]] = {
    isa.JEQ: lambda a, b, bits: a == b,
    isa.JNE: lambda a, b, bits: a != b,
    isa.JGT: lambda a, b, bits: a > b,
    isa.JGE: lambda a, b, bits: a >= b,
    isa.JLT: lambda a, b, bits: a < b,
    isa.JLE: lambda a, b, bits: a <= b,
    isa.JSET: lambda a, b, bits: bool(a & b),
    isa.JSGT: lambda a, b, bits: signed(a, bits) > signed(b, bits),
    isa.JSGE: lambda a, b, bits: signed(a, bits) >= signed(b, bits),
    isa.JSLT: lambda a, b, bits: signed(a, bits) < signed(b, bits),
    isa.JSLE: lambda a, b, bits: signed(a, bits) <= signed(b, bits),
}
"""Conditions by operation bits, on operands masked to `bits`."""


def swap(value: int, bits: int, reverse: bool) -> int:
    """The low `bits` bits, byte-reversed if `reverse`, zero-extended."""
    data = (value & (1 << bits) - 1).to_bytes(bits // 8, "little")
    return int.from_bytes(data, "big" if reverse else "little")
