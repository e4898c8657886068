"""arm64 instructions as uops: operand roles, flags, pairs, atomics, pointer authentication.

Sources: Arm Architecture Reference Manual (operands, flags), Arm Neoverse N1/N2/V1/V2 software
optimization guides, section 3 (which operations form a class).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import capstone
from capstone import arm64_const as arm

from tramposim.timing.arm64_data import (
    arithmetic,
    compare,
    conditional_compare,
    divide,
    extract,
    merge,
    move,
    multiply,
    select,
    shift,
    simple,
)
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


def _load(o: Operands, base: str) -> None:
    o.orders_loads = base.startswith("lda")
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
    o.store(o.sources(0), "store_pair")
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
        o.load((VALUE,), "compare_swap")
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


def _prefetch(o: Operands, _base: str) -> None:
    """A load's port and nothing else: the line is there, or it is not waited for."""
    o.execute("load", o.address() if o.memory else (), ())


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
        ("apur", ("", "b", "h", "sb", "sh", "sw")),
        ("xr", ("", "b", "h")),
        ("axr", ("", "b", "h")),
    )
    for kind in kinds
]
_STORES = [f"st{form}{kind}" for form in ("r", "ur", "tr", "lr", "lur") for kind in ("", "b", "h")]
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
        arithmetic,
    ),
    **dict.fromkeys(("cmp", "cmn", "tst"), compare),
    **dict.fromkeys(("mov", "movz", "movn", "movk", "mvn"), move),
    **dict.fromkeys(("adr", "adrp"), simple("adr")),
    **dict.fromkeys(
        ("rev", "rev16", "rev32", "rev64", "rbit", "clz", "cls"), simple("bit_reverse")
    ),
    **dict.fromkeys(
        ["ubfx", "sbfx", "ubfiz", "sbfiz", "sxtb", "sxth", "sxtw", "uxtb", "uxth", "uxtw"],
        simple("shift"),
    ),
    **dict.fromkeys(("bfi", "bfxil", "bfm", "bfc"), merge),
    **dict.fromkeys(("lsl", "lsr", "asr"), shift),
    **dict.fromkeys(("ror", "extr"), extract),
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
        multiply,
    ),
    **dict.fromkeys(("udiv", "sdiv"), divide),
    **dict.fromkeys(
        ["csel", "csinc", "csinv", "csneg", "cset", "csetm", "cinc", "cinv", "cneg"], select
    ),
    **dict.fromkeys(("ccmp", "ccmn"), conditional_compare),
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
    **dict.fromkeys(("nop", "bti", "hint", "yield", "csdb", "esb", "clrex"), _nop),
    **dict.fromkeys(("prfm", "prfum"), _prefetch),
    **dict.fromkeys((f"crc32{c}{s}" for c in ("", "c") for s in "bhwx"), simple("checksum")),
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
