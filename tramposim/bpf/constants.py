"""Constants that hold on every way through a function, and jumps that they decide.

A forward pass over all static edges before the verifier follows paths (7.1 and later,
kernel/bpf/const_fold.c, as rewritten programs of the captures show it).
"""

from __future__ import annotations

from collections.abc import Sequence

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import COMPARISONS, M32, M64, arithmetic, signed
from tramposim.bpf.insn import Insn
from tramposim.bpf.stack import function_starts, successors
from tramposim.bpf.steps import Facts

__all__ = ["fold_branches"]

_Known = int | tuple[str, int] | None
"""A number, an address in a map's value (map, offset), or nothing known."""
_State = tuple[_Known, ...]
_NOTHING: _State = (None,) * 11
_COMPUTED = (isa.ADD, isa.SUB, isa.AND)
"""What constants are computed with, besides moves; 64-bit forms only."""


def fold_branches(insns: Sequence[Insn], facts: Facts) -> list[Insn]:
    """The program with jumps in place of conditional jumps that constants decide."""
    states: dict[int, _State] = dict.fromkeys(function_starts(list(insns)), _NOTHING)
    work = list(states)
    while work:
        index = work.pop()
        after = _after(insns, index, states[index], facts)
        for following in successors(insns[index], index):
            old = states.get(following)
            new = after if old is None else _merged(old, after)
            if new != old:
                states[following] = new
                work.append(following)
    return [_folded(insn, states.get(index)) for index, insn in enumerate(insns)]


def _merged(old: _State, new: _State) -> _State:
    return tuple(a if a == b else None for a, b in zip(old, new, strict=True))


def _folded(insn: Insn, state: _State | None) -> Insn:
    if state is None or insn.cls not in (isa.JMP, isa.JMP32) or insn.op not in COMPARISONS:
        return insn
    a = state[insn.dst]
    b = state[insn.src] if insn.from_register else insn.imm
    if not isinstance(a, int) or not isinstance(b, int) or a > M32:
        return insn
    if insn.from_register and b > M32:
        return insn
    bits, mask = (64, M64) if insn.cls == isa.JMP else (32, M32)
    taken = COMPARISONS[insn.op](a & mask, b & mask, bits)
    return Insn(isa.JMP | isa.JA, offset=insn.offset if taken else 0)


def _after(insns: Sequence[Insn], index: int, state: _State, facts: Facts) -> _State:
    insn = insns[index]
    registers = list(state)
    if insn.cls in (isa.ALU, isa.ALU64):
        registers[insn.dst] = _computed(insn, state)
    elif insn.opcode == isa.LD_IMM64:
        registers[insn.dst] = facts.values.get(index)
        if insn.src == 0 and index not in facts.values:
            registers[insn.dst] = (insns[index + 1].imm & M32) << 32 | insn.imm & M32
    elif insn.cls == isa.LDX:
        registers[insn.dst] = _loaded(insn, state[insn.src], facts)
    elif insn.cls == isa.STX and insn.mode == isa.ATOMIC:
        if insn.imm == isa.LOAD_ACQ:
            registers[insn.dst] = None
        elif insn.imm & isa.FETCH:
            registers[0 if insn.imm == isa.CMPXCHG else insn.src] = None
    elif insn.cls == isa.LD or insn.opcode & ~isa.X == isa.JMP | isa.CALL:
        registers[:6] = (None,) * 6
    return tuple(registers)


def _loaded(insn: Insn, base: _Known, facts: Facts) -> _Known:
    if not isinstance(base, tuple) or base[0] not in facts.content:
        return None
    at = base[1] + insn.offset
    content = facts.content[base[0]]
    if not 0 <= at <= len(content) - insn.size:
        return None
    is_signed = insn.mode == isa.MEMSX
    return int.from_bytes(content[at : at + insn.size], "little", signed=is_signed) & M64


def _computed(insn: Insn, state: _State) -> _Known:
    wide = insn.cls == isa.ALU64
    mask = M64 if wide else M32
    a = state[insn.dst]
    b: _Known = state[insn.src] if insn.from_register else insn.imm
    if insn.op == isa.MOV:
        if not isinstance(b, int):
            return b if wide and insn.offset == 0 else None
        return (signed(b, insn.offset) if insn.offset in (8, 16, 32) else b) & mask
    if isinstance(a, tuple) and wide and isinstance(b, int) and insn.op in (isa.ADD, isa.SUB):
        return a[0], a[1] + (b if insn.op == isa.ADD else -b)
    if not isinstance(a, int) or not isinstance(b, int) or not wide:
        return None
    return arithmetic(insn.op, a, b, 64, False) if insn.op in _COMPUTED else None
