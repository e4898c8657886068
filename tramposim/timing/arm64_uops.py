"""arm64 instructions as uops: operand roles, flags, pairs, atomics, pointer authentication.

Sources: Arm Architecture Reference Manual (operands, flags), Arm Neoverse N1/N2/V1/V2 software
optimization guides, section 3 (which operations form a class).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import capstone
from capstone import arm64_const as arm

from tramposim.timing.arm64_operands import (
    CONDITIONS,
    FLAGS,
    LINK,
    RESULT,
    SP,
    VALUE,
    Operands,
)
from tramposim.timing.instruction import first_instruction, text, unknown
from tramposim.timing.uops import Branch, InsnSpec, Kind, UopFlag, UopSpec

__all__ = ["decode"]

_ALL_BRANCHES = frozenset(f"b.{c}" for c in CONDITIONS)

_SETS_FLAGS = frozenset(["adds", "subs", "ands", "bics", "adcs", "sbcs", "negs"])
_LOGICAL = frozenset(["and", "orr", "eor", "bic", "orn", "eon"])
_READS_FLAGS = frozenset(["adc", "adcs", "sbc", "sbcs", "ngc", "ngcs"])


def _arithmetic(o: Operands, base: str) -> None:
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


def _compare(o: Operands, _base: str) -> None:
    o.execute(_shifted("alu_flags", o), o.sources(0), (FLAGS,))


def _move(o: Operands, base: str) -> None:
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


def _simple(name: str) -> Callable[[Operands, str], None]:
    """Destination first, sources after it."""

    def handler(o: Operands, _base: str) -> None:
        o.execute(name, o.sources(1), o.registers(o.ops[0]))

    return handler


def _merge(o: Operands, _base: str) -> None:
    """bfi, bfxil: the destination is a source too."""
    o.execute("bitfield_insert", o.sources(0), o.registers(o.ops[0]))


def _extract(o: Operands, base: str) -> None:
    by_register = base == "ror" and o.ops[2].type == arm.ARM64_OP_REG
    two = base == "extr" and o.ops[1].reg != o.ops[2].reg
    o.execute(
        "extract" if two else "shift_register" if by_register else "shift",
        o.sources(1),
        o.registers(o.ops[0]),
    )


def _shift(o: Operands, _base: str) -> None:
    by_register = o.ops[-1].type == arm.ARM64_OP_REG
    o.execute("shift_register" if by_register else "shift", o.sources(1), o.registers(o.ops[0]))


def _multiply(o: Operands, base: str) -> None:
    if base in ("umulh", "smulh"):
        name = "multiply_high"
    elif o.wide() and base in ("mul", "madd", "msub", "mneg"):
        name = "multiply64"
    else:
        name = "multiply32"
    o.execute(name, o.sources(1), o.registers(o.ops[0]))


def _divide(o: Operands, _base: str) -> None:
    o.execute("divide64" if o.wide() else "divide32", o.sources(1), o.registers(o.ops[0]))


def _select(o: Operands, _base: str) -> None:
    o.execute("select", (*o.sources(1), FLAGS), o.registers(o.ops[0]))


def _conditional_compare(o: Operands, _base: str) -> None:
    o.execute("conditional_compare", (*o.sources(0), FLAGS), (FLAGS,))


def _load(o: Operands, base: str) -> None:
    o.orders_loads = base.startswith(("ldar", "ldapr", "ldaxr"))
    if base.startswith(("ldxr", "ldaxr")):
        o.load(o.registers(o.ops[0]), "load_exclusive")
    else:
        o.load(o.registers(o.ops[0]), "load_acquire" if o.orders_loads else "load")
    o.write_back()


def _load_pair(o: Operands, _base: str) -> None:
    first = o.registers(o.ops[0])
    if first and first[0] in o.address():
        # both loads take their address from the register that the first replaces
        o.load((VALUE,))
        o.load(o.registers(o.ops[1]))
        o.uops.append(UopSpec(Kind.ELIMINATED, "copy", (VALUE,), first, False))
    else:
        o.load(first)
        o.load(o.registers(o.ops[1]))
    o.write_back()


def _store(o: Operands, base: str) -> None:
    name = "store_release" if base.startswith("stl") else "store_address"
    o.store(o.registers(o.ops[0]), name)
    o.write_back()


def _store_pair(o: Operands, _base: str) -> None:
    o.store(o.sources(0), "store_address")
    o.write_back()


def _store_exclusive(o: Operands, base: str) -> None:
    o.store(o.registers(o.ops[1]), "store_release" if base.startswith("stl") else "store_address")
    o.uops.append(
        UopSpec(Kind.EXEC, "store_exclusive", (), o.registers(o.ops[0]), True, UopFlag.DRAIN)
    )


def _atomic(o: Operands, base: str) -> None:
    """LSE: ld<op>, st<op>, swp, cas; acquire forms order what follows."""
    match = re.match(r"(ld|st)(add|set|clr|eor|smax|smin|umax|umin)(al|a|l)?[bh]?$", base)
    swap = re.match(r"(swp|cas)(al|a|l)?[bh]?$", base)
    order = (match[3] if match else swap[2] if swap else None) or ""
    o.orders_loads = "a" in order
    operand = o.registers(o.ops[0])
    if match:
        result = o.registers(o.ops[1]) if match[1] == "ld" else ()
        o.load((VALUE,), "atomic")
        o.uops.append(UopSpec(Kind.EXEC, "alu", (VALUE, *operand), (RESULT, *result)))
        o.store((RESULT,))
    elif swap and swap[1] == "swp":
        o.load(o.registers(o.ops[1]) or (VALUE,), "atomic")
        o.store(operand)
    elif swap:
        o.load((VALUE,), "atomic")
        o.uops.append(UopSpec(Kind.EXEC, "alu", (VALUE, *operand), (*operand, RESULT)))
        o.store(o.registers(o.ops[1]))
    else:
        raise unknown(o.insn)


def _branch_conditional(o: Operands, base: str) -> None:
    sources = o.sources(0) if base in ("cbz", "cbnz", "tbz", "tbnz") else (FLAGS,)
    o.execute("branch", sources, (), UopFlag.BRANCH)


def _branch(o: Operands, base: str) -> None:
    link = (LINK,) if base in ("bl", "blr") else ()
    direct = base in ("b", "bl")
    sources = o.sources(0) or (LINK,) if base == "ret" else o.sources(0)
    o.execute("jump" if direct else "jump_indirect", sources, link, UopFlag.BRANCH)


def _authenticated_return(o: Operands, _base: str) -> None:
    o.execute("authenticate", (LINK, SP), (LINK,))
    o.execute("jump_indirect", (LINK,), (), UopFlag.BRANCH)


def _sign(o: Operands, base: str) -> None:
    name = "sign" if base.startswith("pac") else "authenticate"
    registers = o.sources(0)
    if registers:
        o.execute(name, registers, registers[:1])
    else:
        o.execute(name, (LINK, SP), (LINK,))


def _strip(o: Operands, base: str) -> None:
    registers = (LINK,) if base == "xpaclri" else o.sources(0)
    o.execute("sign", registers, registers)


def _nop(o: Operands, _base: str) -> None:
    o.uops.append(UopSpec(Kind.NOP, "nop"))


def _system_read(o: Operands, _base: str) -> None:
    text = o.insn.op_str.lower()
    if "cntvct" in text or "cntpct" in text:
        name = "counter_read"
    elif any(word in text for word in ("tpidr", "sp_el0")):
        name = "thread_read"
    else:
        name = "system_read"
    o.execute(name, (), o.registers(o.ops[0]))


def _system_write(o: Operands, _base: str) -> None:
    sources = tuple(r for op in o.ops[1:] if op.type == arm.ARM64_OP_REG for r in o.registers(op))
    o.execute("system_write", sources, ())


def _barrier(o: Operands, base: str) -> None:
    if base == "isb":
        o.execute("isb", (), (), UopFlag.DRAIN | UopFlag.BLOCK)
    else:
        o.orders_loads = True
        o.uops.append(
            UopSpec(Kind.LOAD, "dsb" if base == "dsb" else "dmb", (), (), True, UopFlag.LOCKED)
        )


_LOADS = [
    f"ld{form}{kind}"
    for form, kinds in (
        ("r", ("", "b", "h", "sb", "sh", "sw")),
        ("ur", ("", "b", "h", "sb", "sh", "sw")),
        ("tr", ("", "b", "h", "sb", "sh", "sw")),
        ("ar", ("", "b", "h")),
        ("apr", ("", "b", "h")),
        ("xr", ("", "b", "h")),
        ("axr", ("", "b", "h")),
    )
    for kind in kinds
]
_STORES = [f"st{form}{kind}" for form in ("r", "ur", "tr", "lr") for kind in ("", "b", "h")]
_OPERATIONS = ("add", "set", "clr", "eor", "smax", "smin", "umax", "umin")
_ORDERS = ("", "a", "l", "al")
_SIZES = ("", "b", "h")

_HANDLERS: dict[str, Callable[[Operands, str], None]] = {
    **dict.fromkeys(
        [
            "add",
            "sub",
            "and",
            "orr",
            "eor",
            "bic",
            "orn",
            "eon",
            "neg",
            "adds",
            "subs",
            "ands",
            "bics",
            "negs",
            "adc",
            "adcs",
            "sbc",
            "sbcs",
            "ngc",
            "ngcs",
        ],
        _arithmetic,
    ),
    **dict.fromkeys(("cmp", "cmn", "tst"), _compare),
    **dict.fromkeys(("mov", "movz", "movn", "movk", "mvn"), _move),
    **dict.fromkeys(("adr", "adrp"), _simple("adr")),
    **dict.fromkeys(
        ("rev", "rev16", "rev32", "rev64", "rbit", "clz", "cls"), _simple("bit_reverse")
    ),
    **dict.fromkeys(
        ["ubfx", "sbfx", "ubfiz", "sbfiz", "sxtb", "sxth", "sxtw", "uxtb", "uxth", "uxtw"],
        _simple("shift"),
    ),
    **dict.fromkeys(("bfi", "bfxil", "bfm", "bfc"), _merge),
    **dict.fromkeys(("lsl", "lsr", "asr"), _shift),
    **dict.fromkeys(("ror", "extr"), _extract),
    **dict.fromkeys(
        [
            "mul",
            "madd",
            "msub",
            "mneg",
            "smull",
            "umull",
            "smaddl",
            "umaddl",
            "smsubl",
            "umsubl",
            "smnegl",
            "umnegl",
            "umulh",
            "smulh",
        ],
        _multiply,
    ),
    **dict.fromkeys(("udiv", "sdiv"), _divide),
    **dict.fromkeys(
        ["csel", "csinc", "csinv", "csneg", "cset", "csetm", "cinc", "cinv", "cneg"], _select
    ),
    **dict.fromkeys(("ccmp", "ccmn"), _conditional_compare),
    **dict.fromkeys(_LOADS, _load),
    **dict.fromkeys(("ldp", "ldnp", "ldpsw"), _load_pair),
    **dict.fromkeys(_STORES, _store),
    **dict.fromkeys(("stp", "stnp"), _store_pair),
    **dict.fromkeys([f"st{f}{s}" for f in ("xr", "lxr") for s in _SIZES], _store_exclusive),
    **dict.fromkeys(
        [
            f"{d}{op}{a}{s}"
            for d in ("ld", "st")
            for op in _OPERATIONS
            for a in _ORDERS
            for s in _SIZES
        ],
        _atomic,
    ),
    **dict.fromkeys(
        [f"{d}{a}{s}" for d in ("swp", "cas") for a in _ORDERS for s in _SIZES], _atomic
    ),
    **dict.fromkeys(("cbz", "cbnz", "tbz", "tbnz"), _branch_conditional),
    **dict.fromkeys(_ALL_BRANCHES, _branch_conditional),
    **dict.fromkeys(("b", "bl", "br", "blr", "ret"), _branch),
    **dict.fromkeys(("retaa", "retab"), _authenticated_return),
    **dict.fromkeys(
        [
            "paciasp",
            "pacibsp",
            "autiasp",
            "autibsp",
            "paciaz",
            "autiaz",
            "pacia",
            "pacib",
            "autia",
            "autib",
        ],
        _sign,
    ),
    **dict.fromkeys(("xpaclri", "xpaci", "xpacd"), _strip),
    **dict.fromkeys(("nop", "bti", "hint", "yield", "prfm", "csdb", "esb", "clrex"), _nop),
    "mrs": _system_read,
    "msr": _system_write,
    **dict.fromkeys(("dmb", "dsb", "isb"), _barrier),
}

_BRANCHES = {
    "b": Branch.JUMP,
    "bl": Branch.CALL,
    "br": Branch.INDIRECT_JUMP,
    "blr": Branch.INDIRECT_CALL,
    **dict.fromkeys(("ret", "retaa", "retab"), Branch.RETURN),
    **dict.fromkeys(("cbz", "cbnz", "tbz", "tbnz"), Branch.CONDITIONAL),
    **dict.fromkeys(_ALL_BRANCHES, Branch.CONDITIONAL),
}


def decode(code: bytes, address: int) -> InsnSpec:
    """The instruction at the start of `code`, which lies at `address`.

    Raises `UnsupportedError` for an instruction that cannot be decoded or has no timing.
    """
    insn = first_instruction(
        capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN, code[:4], address
    )
    base = insn.mnemonic
    handler = _HANDLERS.get(base)
    if handler is None:
        raise unknown(insn)
    o = Operands(insn)
    handler(o, base)
    fuses = _ALL_BRANCHES if base in ("cmp", "cmn", "tst") else frozenset()
    if fuses and o.uops[0].name != "alu_flags":
        fuses = frozenset()
    return InsnSpec(
        text=text(insn),
        size=4,
        uops=tuple(o.uops),
        branch=_BRANCHES.get(base, Branch.NONE),
        fuses=fuses,
        mnemonic=base,
        orders_loads=o.orders_loads,
        pair=base in ("stp", "stnp"),
        position_dependent=base in ("adr", "adrp")
        or (o.memory is None and any(uop.kind is Kind.LOAD for uop in o.uops)),
    )
