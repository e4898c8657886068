"""What the verifier's analysis says about a program's registers, as far as rewriting needs it.

A forward data-flow pass over the original instructions: a register is known to hold the
frame pointer plus a constant, the address of a named map, or nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, Pseudo, Reg
from tramposim.errors import InputError

__all__ = ["Analysis", "analyse", "successors"]

_Value = int | str | None
"""A frame offset, a map's name, or nothing known."""
_State = tuple[_Value, ...]
_ENTRY: _State = (None,) * 10 + (0,)


@dataclass(frozen=True, slots=True)
class Analysis:
    """`stack_depth` in bytes (multiple of 8); `map_of_call`: the map in r1 at each call."""

    stack_depth: int
    map_of_call: Mapping[int, str]


def successors(insn: Insn, index: int) -> tuple[int, ...]:
    """Indices that may execute after instruction `index` (within its function)."""
    if insn.opcode == isa.LD_IMM64:
        return (index + 2,)
    if insn.cls not in (isa.JMP, isa.JMP32) or insn.op == isa.CALL:
        return (index + 1,)
    if insn.op == isa.EXIT:
        return ()
    if insn.op == isa.JA:
        return (index + 1 + (insn.imm if insn.cls == isa.JMP32 else insn.offset),)
    return (index + 1, index + 1 + insn.offset)


def analyse(insns: list[Insn], map_loads: Mapping[int, str], where: str) -> Analysis:
    """Analyse one function; `map_loads` names the map that each map load (by index) loads.

    Raises `InputError` if control leaves the function or an access lies above the frame.
    """
    states: dict[int, _State] = {0: _ENTRY}
    work = [0]
    deepest = 0
    map_of_call: dict[int, str] = {}
    while work:
        index = work.pop()
        if not 0 <= index < len(insns):
            raise InputError(f"{where}: control leaves the program after instruction {index - 1}")
        state, insn = states[index], insns[index]
        deepest = min(deepest, _deepest_access(insn, state))
        if insn.opcode == isa.JMP | isa.CALL:
            first = state[Reg.R1]
            if isinstance(first, str):
                map_of_call[index] = first
            else:
                map_of_call.pop(index, None)
        after = _step(insn, state, map_loads.get(index))
        for following in successors(insn, index):
            merged = _merge(states.get(following), after)
            if merged != states.get(following):
                states[following] = merged
                work.append(following)
    return Analysis((-deepest + 7) & ~7, map_of_call)


def _merge(old: _State | None, new: _State) -> _State:
    if old is None:
        return new
    return tuple(a if a == b else None for a, b in zip(old, new, strict=True))


def _deepest_access(insn: Insn, state: _State) -> int:
    """Lowest frame offset that the instruction uses as an address (0 if none)."""
    if insn.opcode == isa.JMP | isa.CALL:
        offsets = [value for value in state[Reg.R1 : Reg.R5 + 1] if isinstance(value, int)]
        return min(offsets, default=0)
    base = insn.src if insn.cls == isa.LDX else insn.dst
    if insn.cls in (isa.LDX, isa.ST, isa.STX) and base <= Reg.FP:
        value = state[base]
        if isinstance(value, int):
            return value + insn.offset
    return 0


def _step(insn: Insn, state: _State, loaded_map: str | None) -> _State:
    registers = list(state)
    if insn.opcode == isa.JMP | isa.CALL:
        registers[Reg.R0 : Reg.R5 + 1] = [None] * 6
    elif insn.cls in (isa.ALU, isa.ALU64) and insn.dst < Reg.FP:
        registers[insn.dst] = _arithmetic(insn, state)
    elif insn.cls == isa.LDX and insn.dst < Reg.FP:
        registers[insn.dst] = None
    elif insn.opcode == isa.LD_IMM64 and insn.dst < Reg.FP:
        registers[insn.dst] = loaded_map if insn.src == Pseudo.MAP_FD else None
    elif insn.cls == isa.LD:
        registers[Reg.R0 : Reg.R5 + 1] = [None] * 6
    elif insn.cls == isa.STX and insn.mode == isa.ATOMIC:
        for written in (insn.src, insn.dst if insn.imm == isa.LOAD_ACQ else 0):
            if written < Reg.FP and insn.imm & (isa.FETCH | isa.LOAD_ACQ):
                registers[written] = None
    return tuple(registers)


def _arithmetic(insn: Insn, state: _State) -> _Value:
    if insn.cls != isa.ALU64:
        return None
    if insn.op == isa.MOV and insn.from_register and insn.offset == 0 and insn.src <= Reg.FP:
        return state[insn.src]
    value = state[insn.dst]
    if isinstance(value, int) and not insn.from_register:
        if insn.op == isa.ADD:
            return value + insn.imm
        if insn.op == isa.SUB:
            return value - insn.imm
    return None
