"""Which fields of an eBPF instruction mean something, and which are reserved (RFC 9669).

Texts name the meaningful fields only. Verifiers leave marks in reserved ones, so that texts
which must be exact write those that are not zero behind the instruction: `w0 = w0 {imm=1}`.
"""

from __future__ import annotations

from dataclasses import replace

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, Pseudo

__all__ = ["RESERVED_FIELDS", "canonical", "reserved", "with_reserved"]

RESERVED_FIELDS = {"dst": (0, 15), "src": (0, 15), "off": (-1 << 15, (1 << 15) - 1),
                   "imm": (-1 << 31, (1 << 31) - 1)}  # fmt: skip
"""Names of the fields in texts, with their least and greatest values."""

_ATTRIBUTES = {"dst": "dst", "src": "src", "off": "offset", "imm": "imm"}


def _meaningful(insn: Insn) -> str:
    """Initials of the meaningful fields: d(st), s(rc), o(ffset), i(mm)."""
    cls, op = insn.cls, insn.op
    if cls in (isa.ALU, isa.ALU64):
        return _arithmetic(insn)
    if insn.opcode == isa.LD_IMM64:
        return "dsi"
    if cls == isa.LD:
        return "si" if insn.mode == isa.IND else "i"
    if cls == isa.LDX:
        return "dso"
    if cls == isa.ST:
        return "" if insn.opcode == isa.ST | isa.ATOMIC else "doi"
    if cls == isa.STX:
        return "dsoi" if insn.mode in (isa.ATOMIC, isa.PROBE_ATOMIC) else "dso"
    if op == isa.JA:
        return "d" if insn.from_register else "o" if cls == isa.JMP else "i"
    if op == isa.CALL:
        return "d" if insn.from_register else "sio" if insn.src == Pseudo.KFUNC else "si"
    if op == isa.EXIT:
        return ""
    if op == isa.JCOND:
        return "o"
    if op == isa.TAIL_CALL:
        return "i"
    return "dso" if insn.from_register else "doi"


def _arithmetic(insn: Insn) -> str:
    if insn.op == isa.NEG:
        return "d"
    if insn.op == isa.END:
        return "di"
    if not insn.from_register:
        return "doi" if insn.op in (isa.DIV, isa.MOD) else "di"
    if insn.op == isa.MOV and insn.offset == isa.ADDR_SPACE_CAST:
        return "dsoi"
    return "dso" if insn.op in (isa.DIV, isa.MOD, isa.MOV) else "ds"


def reserved(insn: Insn) -> dict[str, int]:
    """Values of the reserved fields that are not zero, by their names in texts."""
    meaningful = _meaningful(insn)
    return {
        name: value
        for name, attribute in _ATTRIBUTES.items()
        if name[0] not in meaningful and (value := getattr(insn, attribute))
    }


def canonical(insn: Insn) -> Insn:
    """The instruction with all reserved fields zero."""
    return with_reserved(insn, dict.fromkeys(reserved(insn), 0))


def with_reserved(insn: Insn, values: dict[str, int]) -> Insn:
    """The instruction with some of its fields set, by their names in texts."""
    if not values:
        return insn
    return replace(insn, **{_ATTRIBUTES[name]: value for name, value in values.items()})
