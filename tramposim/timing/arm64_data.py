"""arm64 arithmetic, moves, bitfields and conditional selects as uops, a function per family."""

from __future__ import annotations

from collections.abc import Callable

from capstone import arm64_const as arm

from tramposim.timing.arm64_operands import FLAGS, Operands
from tramposim.timing.uops import Kind

__all__ = [
    "arithmetic",
    "compare",
    "conditional_compare",
    "divide",
    "extract",
    "merge",
    "move",
    "multiply",
    "select",
    "shift",
    "simple",
]

_SETS_FLAGS = frozenset(["adds", "subs", "ands", "bics", "adcs", "sbcs", "negs"])
_LOGICAL = frozenset(["and", "orr", "eor", "bic", "orn", "eon"])
_READS_FLAGS = frozenset(["adc", "adcs", "sbc", "sbcs", "ngc", "ngcs"])


def arithmetic(o: Operands, base: str) -> None:
    """add sub and orr eor ... : destination, sources, the last perhaps shifted or extended."""
    flags = (FLAGS,) if base in _SETS_FLAGS else ()
    reads = (FLAGS,) if base in _READS_FLAGS else ()
    name = _shifted("alu_flags" if flags else "alu", o)
    if name.startswith("alu_sh") and base in _LOGICAL:
        name = "logical_shifted"
    o.execute(name, (*o.sources(1), *reads), (*o.registers(o.ops[0]), *flags))


def _shifted(plain: str, o: Operands) -> str:
    last = o.ops[-1]
    if last.type != arm.ARM64_OP_REG:
        return plain
    if last.ext:
        return "alu_extended"
    if last.shift.type and last.shift.value:
        short = last.shift.type == arm.ARM64_SFT_LSL and last.shift.value <= 4
        return "alu_short_shift" if short else "alu_shifted"
    return plain


def compare(o: Operands, _base: str) -> None:
    """cmp, cmn, tst: flags only."""
    o.execute(_shifted("alu_flags", o), o.sources(0), (FLAGS,))


def move(o: Operands, base: str) -> None:
    """mov, movz, movn, movk, mvn."""
    dst, src = o.registers(o.ops[0]), o.ops[1]
    if base == "movk":
        o.execute("move_immediate", dst, dst)
    elif src.type == arm.ARM64_OP_IMM:
        kind = Kind.ZERO if src.imm == 0 else Kind.EXEC
        o.execute("move_immediate", (), dst, kind=kind)
    else:
        sources = o.registers(src)
        if base == "mvn":
            o.execute(_shifted("alu", o), sources, dst)
        elif not sources:
            o.execute("move_immediate", (), dst, kind=Kind.ZERO)
        else:
            kind = Kind.ELIMINATED if o.wide() else Kind.EXEC
            o.execute("move", sources, dst, kind=kind)


def simple(name: str) -> Callable[[Operands, str], None]:
    """Destination first, sources after it."""

    def handler(o: Operands, _base: str) -> None:
        o.execute(name, o.sources(1), o.registers(o.ops[0]))

    return handler


def merge(o: Operands, _base: str) -> None:
    """bfi, bfxil: the destination is a source too."""
    o.execute("bitfield_insert", o.sources(0), o.registers(o.ops[0]))


def extract(o: Operands, base: str) -> None:
    """ror, extr."""
    by_register = base == "ror" and o.ops[2].type == arm.ARM64_OP_REG
    two = base == "extr" and o.ops[1].reg != o.ops[2].reg
    o.execute(
        "extract" if two else "shift_register" if by_register else "shift",
        o.sources(1),
        o.registers(o.ops[0]),
    )


def shift(o: Operands, _base: str) -> None:
    """lsl, lsr, asr by an immediate or a register."""
    by_register = o.ops[-1].type == arm.ARM64_OP_REG
    o.execute("shift_register" if by_register else "shift", o.sources(1), o.registers(o.ops[0]))


def multiply(o: Operands, base: str) -> None:
    """mul and its relatives, by width and half of the product."""
    if base in ("umulh", "smulh"):
        name = "multiply_high"
    elif o.wide() and base in ("mul", "madd", "msub", "mneg"):
        name = "multiply64"
    else:
        name = "multiply32"
    o.execute(name, o.sources(1), o.registers(o.ops[0]))


def divide(o: Operands, _base: str) -> None:
    """udiv, sdiv."""
    o.execute("divide64" if o.wide() else "divide32", o.sources(1), o.registers(o.ops[0]))


def select(o: Operands, _base: str) -> None:
    """csel, csinc, cset and the like."""
    o.execute("select", (*o.sources(1), FLAGS), o.registers(o.ops[0]))


def conditional_compare(o: Operands, _base: str) -> None:
    """ccmp, ccmn."""
    o.execute("conditional_compare", (*o.sources(0), FLAGS), (FLAGS,))
