"""arm64: machine registers of eBPF registers, and condition codes."""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.jit.rules import RegisterMap

__all__ = [
    "ARENA",
    "CALLEE_SAVED",
    "CONDITIONS",
    "COUNTER",
    "FP",
    "LR",
    "PRIVATE_SP",
    "SP",
    "TMP",
    "TMP2",
    "TMP3",
    "ZR",
    "register_map",
]

SP = ZR = 31
LR = 30
TMP, TMP2, TMP3 = 10, 11, 12
FP, COUNTER, PRIVATE_SP, ARENA = 25, 26, 27, 28

CALLEE_SAVED = {6: 19, 7: 20, 8: 21, 9: 22}
"""Machine registers of r6 to r9."""

CONDITIONS = {
    isa.JEQ: 0,
    isa.JNE: 1,
    isa.JSET: 1,
    isa.JGE: 2,
    isa.JLT: 3,
    isa.JGT: 8,
    isa.JLE: 9,
    isa.JSGE: 10,
    isa.JSLT: 11,
    isa.JSGT: 12,
    isa.JSLE: 13,
}
"""Condition code of a conditional jump by its operation bits."""


def register_map(scratch: int, result: int) -> RegisterMap:
    """The mapping; `scratch` is the verifier's scratch register, `result` where r0 lives."""
    fixed = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 10: FP}
    return RegisterMap("arm64", fixed | CALLEE_SAVED | {0: result, scratch: 9})
