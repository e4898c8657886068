"""x86_64 string instructions and the table lookup as uops."""

from __future__ import annotations

from tramposim.timing.instruction import unknown
from tramposim.timing.uops import Kind, UopSpec
from tramposim.timing.x86_64_operands import (
    FLAGS,
    RAX,
    RBX,
    RCX,
    RDI,
    RESULT,
    RSI,
    SCRATCH,
    VALUE,
    Operands,
)

__all__ = ["string", "table_lookup"]

_REPEATABLE = ("movs", "stos")


def string(o: Operands, base: str, _locked: bool) -> None:
    """movs, stos, lods, scas, cmps, or one iteration of rep movs and rep stos.

    What repeats has its start-up paid per execution of the prefix, and its pointers are moved by
    additions; on its own the classes `string_one` and `string_two` move one pointer or both.
    """
    family, size = base[:4], "bwdq".index(base[4])
    repeated = bool(o.insn.prefix[0])
    if repeated and family not in _REPEATABLE:
        raise unknown(o.insn)
    if family in ("movs", "lods", "cmps"):
        whole = family == "lods" and size > 1
        o.uops.append(UopSpec(Kind.LOAD, "load", (RSI,), (RAX if whole else VALUE,)))
    if family in ("scas", "cmps"):
        o.uops.append(UopSpec(Kind.LOAD, "load", (RDI,), (RESULT,)))
        o.uops.append(
            UopSpec(Kind.EXEC, "alu", (RESULT, RAX if family == "scas" else VALUE), FLAGS)
        )
    if family == "lods" and size <= 1:
        o.uops.append(UopSpec(Kind.EXEC, "alu", (VALUE, RAX), (RAX,)))
    if family in _REPEATABLE:
        source = VALUE if family == "movs" else RAX
        o.uops.append(UopSpec(Kind.STORE_ADDRESS, "store_address", (RDI,)))
        o.uops.append(UopSpec(Kind.STORE_DATA, "store_data", (source,), (), False))
    moved = {"movs": (RSI, RDI), "cmps": (RSI, RDI), "lods": (RSI,)}.get(family, (RDI,))
    if repeated:
        o.uops += [UopSpec(Kind.EXEC, "alu", (one,), (one,)) for one in (*moved, RCX)]
    else:
        name = "string_two" if len(moved) > 1 else "string_one"
        o.uops.append(UopSpec(Kind.EXEC, name, moved, moved))


def table_lookup(o: Operands, _base: str, _locked: bool) -> None:
    """xlatb: al becomes the byte at rbx + al."""
    o.uops.append(UopSpec(Kind.EXEC, "extend", (RAX,), (SCRATCH,)))
    o.uops.append(UopSpec(Kind.LOAD, "load", (RBX, SCRATCH), (VALUE,)))
    o.uops.append(UopSpec(Kind.EXEC, "alu", (VALUE, RAX), (RAX,)))
