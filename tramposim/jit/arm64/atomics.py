"""arm64: atomic operations, with the large system extensions or exclusive loads and stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tramposim._native.rules import OFFSET, local
from tramposim.bpf import insn as isa
from tramposim.errors import UnsupportedError
from tramposim.jit.arm64.immediates import add_immediate
from tramposim.jit.arm64.registers import ARENA, TMP, TMP2, TMP3
from tramposim.jit.rules import Rule

__all__ = ["acquire_release", "exclusive", "lse"]

_ACQUIRE = {isa.B: "ldarb", isa.H: "ldarh", isa.W: "ldar32", isa.DW: "ldar"}
_RELEASE = {isa.B: "stlrb", isa.H: "stlrh", isa.W: "stlr32", isa.DW: "stlr"}
_PLAIN = {isa.ADD: "add", isa.OR: "orr", isa.AND: "and", isa.XOR: "eor"}
_LSE = {isa.ADD: "add", isa.OR: "set", isa.AND: "clr", isa.XOR: "eor"}


def _place(base: int, offset: int, arena: bool, short: bool) -> tuple[list[tuple[Any, ...]], int]:
    """Operations that form the address, and the register that then holds it.

    `short`: kernels that add an offset as an immediate if it fits (7.0 and later).
    """
    items: list[tuple[Any, ...]] = []
    constant = ("movi_sx", TMP, OFFSET)
    if offset and short:
        items += add_immediate(("add", "sub"), TMP, base, "", OFFSET, constant)
    elif offset:
        items += [constant, ("add", TMP, TMP, base)]
    base = TMP if offset else base
    if arena:
        items.append(("add", TMP, base, ARENA))
        base = TMP
    return items, base


def acquire_release(
    imm: int, size: int, rd: int, rs: int, offset: int, arena: bool, short: bool
) -> Rule:
    """Load-acquire to rd from rs + offset, or store-release of rs to rd + offset."""
    load = imm == isa.LOAD_ACQ
    items, place = _place(rs if load else rd, offset, arena, short)
    return [*items, (_ACQUIRE[size], rd, place) if load else (_RELEASE[size], rs, place)]


def lse(
    imm: int, wide: bool, rd: int, rs: int, offset: int, arena: bool, short: bool, result: int
) -> Rule:
    """One instruction, after the operand of an `and` is inverted for `clr`."""
    suffix = "" if wide else "32"
    items, place = _place(rd, offset, arena, short)
    if imm == isa.XCHG:
        return [*items, ("swpal" + suffix, rs, rs, place)]
    if imm == isa.CMPXCHG:
        return [*items, ("casal" + suffix, result, rs, place)]
    op = imm & ~isa.FETCH
    if op not in _LSE:
        raise UnsupportedError(f"arm64: atomic operation {imm:#x}")
    operand = rs
    if op == isa.AND:
        items.append(("mvn" + suffix, TMP2, rs))
        operand = TMP2
    if imm & isa.FETCH:
        return [*items, (f"ld{_LSE[op]}al{suffix}", operand, rs, place)]
    return [*items, (f"st{_LSE[op]}{suffix}", operand, place)]


def exclusive(
    imm: int,
    wide: bool,
    rd: int,
    rs: int,
    offset: int,
    short: bool,
    result: int,
    scratch: int,
    move: Callable[[bool, int, int], tuple[Any, ...]],
) -> Rule:
    """A loop of exclusive load and store; a barrier follows what returns a value."""
    suffix = "" if wide else "32"
    items, place = _place(rd, offset, False, short)
    load, store = "ldxr" + suffix, "stlxr" + suffix
    again = ("cbnz32", TMP3, local(0))
    if imm in _PLAIN:
        return [
            *items,
            ("label", 0),
            (load, TMP2, place),
            (_PLAIN[imm] + suffix, TMP2, TMP2, rs),
            ("stxr" + suffix, TMP3, TMP2, place),
            again,
        ]
    if imm == isa.XCHG:
        items += [move(wide, TMP2, rs), ("label", 0), (load, rs, place)]
        return [*items, (store, TMP3, TMP2, place), again, ("dmb_ish",)]
    if imm == isa.CMPXCHG:
        return [
            *items,
            move(wide, TMP2, result),
            ("label", 0),
            (load, result, place),
            ("eor" + suffix, TMP3, result, TMP2),
            ("cbnz" + suffix, TMP3, local(1)),
            (store, TMP3, rs, place),
            again,
            ("dmb_ish",),
            ("label", 1),
        ]
    op = imm & ~isa.FETCH
    if op not in _PLAIN:
        raise UnsupportedError(f"arm64: atomic operation {imm:#x}")
    return [
        *items,
        move(wide, scratch, rs),
        ("label", 0),
        (load, rs, place),
        (_PLAIN[op] + suffix, TMP2, rs, scratch),
        (store, TMP3, TMP2, place),
        again,
        ("dmb_ish",),
    ]
