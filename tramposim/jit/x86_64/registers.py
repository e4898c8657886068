"""x86_64: machine registers of eBPF registers, and condition codes."""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.jit.rules import RegisterMap

__all__ = [
    "AUX",
    "CALLEE_SAVED",
    "CONDITIONS",
    "R9",
    "R12",
    "RAX",
    "RBP",
    "RCX",
    "RDX",
    "RSI",
    "RSP",
    "SCRATCH",
    "register_map",
]

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, SCRATCH, AUX, R12, R13, R14, R15 = range(16)
"""Machine registers by encoding number; SCRATCH is r10 (the verifier's), AUX r11 (the JIT's)."""

CALLEE_SAVED = {6: RBX, 7: R13, 8: R14, 9: R15}
"""Machine registers of r6 to r9, in the order in which they are pushed."""

_BASE = {0: RAX, 1: RDI, 2: RSI, 3: RDX, 4: RCX, 5: R8} | CALLEE_SAVED

CONDITIONS = {
    isa.JEQ: 4,
    isa.JNE: 5,
    isa.JSET: 5,
    isa.JGT: 7,
    isa.JLT: 2,
    isa.JGE: 3,
    isa.JLE: 6,
    isa.JSGT: 15,
    isa.JSLT: 12,
    isa.JSGE: 13,
    isa.JSLE: 14,
}
"""Condition code of a conditional jump by its operation bits."""


def register_map(scratch: int, private_stack: bool) -> RegisterMap:
    """The mapping; `scratch` is the number of the verifier's scratch register."""
    return RegisterMap("x86_64", _BASE | {10: R9 if private_stack else RBP, scratch: SCRATCH})
