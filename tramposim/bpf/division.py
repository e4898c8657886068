"""Division as the verifier leaves it: no divisor reaches a machine instruction that traps.

Source: do_misc_fixups in kernel/bpf/verifier.c, and the rewritten programs of the captures.
"""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn

__all__ = ["checked_division"]


def checked_division(insn: Insn, scratch: int) -> list[Insn]:
    """What a division or modulo becomes; `scratch` is the verifier's own register.

    A divisor of zero gives zero, or the dividend as remainder; signed division by -1 becomes
    negation, its remainder zero.
    """
    wide = insn.cls == isa.ALU64
    if insn.from_register:
        return _signed(insn, wide, scratch) if insn.offset == 1 else _unsigned(insn, wide)
    if insn.offset == 1 and insn.imm == -1:
        if insn.op == isa.DIV:
            return [Insn(insn.cls | isa.NEG, insn.dst)]
        return [Insn(isa.ALU | isa.MOV, insn.dst)]
    return [insn]


def _truncated(insn: Insn, wide: bool) -> list[Insn]:
    """The remainder of a 32-bit division by zero: the dividend, zero-extended."""
    if wide:
        return []
    return [
        Insn(isa.JMP | isa.JA, offset=1),
        Insn(isa.ALU | isa.MOV | isa.X, insn.dst, insn.dst),
    ]


def _unsigned(insn: Insn, wide: bool) -> list[Insn]:
    jump = isa.JMP if wide else isa.JMP32
    if insn.op == isa.DIV:
        return [
            Insn(jump | isa.JNE, insn.src, offset=2),
            Insn(isa.ALU | isa.XOR | isa.X, insn.dst, insn.dst),
            Insn(isa.JMP | isa.JA, offset=1),
            insn,
        ]
    return [
        Insn(jump | isa.JEQ, insn.src, offset=1 if wide else 2),
        insn,
        *_truncated(insn, wide),
    ]


def _signed(insn: Insn, wide: bool, scratch: int) -> list[Insn]:
    """The divisor plus 1 tells 0 and -1 (1 and 0) from all others in one comparison."""
    jump = isa.JMP if wide else isa.JMP32
    head = [
        Insn(isa.ALU64 | isa.MOV | isa.X, scratch, insn.src),
        Insn(insn.cls | isa.ADD, scratch, imm=1),
    ]
    if insn.op == isa.DIV:
        return [
            *head,
            Insn(jump | isa.JGT, scratch, offset=4, imm=1),
            Insn(jump | isa.JEQ, scratch, offset=1),
            Insn(insn.cls | isa.MOV, insn.dst),
            Insn(insn.cls | isa.NEG, insn.dst),
            Insn(isa.JMP | isa.JA, offset=1),
            insn,
        ]
    return [
        *head,
        Insn(jump | isa.JGT, scratch, offset=3, imm=1),
        Insn(jump | isa.JEQ, scratch, offset=3 if wide else 4, imm=1),
        Insn(isa.ALU | isa.MOV, insn.dst),
        Insn(isa.JMP | isa.JA, offset=1),
        insn,
        *_truncated(insn, wide),
    ]
