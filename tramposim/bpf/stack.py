"""What the verifier's analysis says about a program's registers, as far as rewriting needs it.

A forward data-flow pass over the original instructions: a register is known to hold the
frame pointer plus a constant, the address of a named map, the context, a pointer that came
out of it, or nothing is known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, Pseudo, Reg
from tramposim.errors import InputError

__all__ = ["Analysis", "analyse", "function_starts", "result_read_wide", "successors"]


class Origin(Enum):
    """Where a pointer came from."""

    CONTEXT = "context"
    """The program's context itself."""
    KERNEL = "kernel"
    """Loaded from the context, or through such a pointer: what the verifier types by BTF."""


_T = TypeVar("_T")
_Value = int | str | Origin | None
"""A frame offset, a map's name, a pointer's origin, or nothing known."""
_State = tuple[_Value, ...]
_CALLBACK: _State = (*(None,) * 10, 0)
_ENTRY: _State = (None, Origin.CONTEXT, *(None,) * 8, 0)


@dataclass(frozen=True, slots=True)
class Analysis:
    """`stack_depths` in bytes (multiples of 8), by function; `map_of_call`: the map in r1 at
    each call.

    `context_accesses` are the loads and stores of the context, `kernel_loads` the loads
    through pointers that came out of it.
    """

    stack_depths: tuple[int, ...]
    map_of_call: Mapping[int, str]
    context_accesses: frozenset[int]
    kernel_loads: frozenset[int]


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


def _is_direct_call(insn: Insn) -> bool:
    return insn.opcode == isa.JMP | isa.CALL and insn.src == Pseudo.CALL


def _is_function_address(insn: Insn) -> bool:
    return insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC


def function_starts(insns: list[Insn]) -> tuple[int, ...]:
    """Where the functions begin: the program itself, all that is called or whose address is
    taken.
    """
    starts = {0}
    for index, insn in enumerate(insns):
        if _is_direct_call(insn) or _is_function_address(insn):
            starts.add(index + 1 + insn.imm)
    return tuple(sorted(starts))


def analyse(insns: list[Insn], map_loads: Mapping[int, str], where: str) -> Analysis:
    """Analyse a program; `map_loads` names the map that each map load (by index) loads.

    Raises `InputError` where the verifier refuses: control leaves a function other than by
    exit and call, or never reaches an instruction.
    """
    starts = function_starts(insns)
    states: dict[int, _State] = {0: _ENTRY}
    work = [0]
    deepest = [0] * len(starts)
    map_of_call: dict[int, str] = {}
    origins: dict[int, Origin] = {}
    if not all(0 <= start < len(insns) for start in starts):
        raise InputError(f"{where}: a call of what is no instruction of the program")
    while work:
        index = work.pop()
        state, insn = states[index], insns[index]
        if insn.opcode == 0:
            raise InputError(f"{where}: a jump into the 64-bit load at {index - 1}")
        function = bisect_right(starts, index) - 1
        deepest[function] = min(deepest[function], _deepest_access(insn, state))
        first = state[Reg.R1] if insn.opcode == isa.JMP | isa.CALL else None
        _note(map_of_call, index, first if isinstance(first, str) else None)
        base = _base(insn)
        value = state[base] if base is not None else None
        _note(origins, index, value if isinstance(value, Origin) else None)
        after = _step(insn, state, map_loads.get(index))
        end = starts[function + 1] if function + 1 < len(starts) else len(insns)
        for following in successors(insn, index):
            if not starts[function] <= following < end:
                raise InputError(f"{where}: control leaves its function after instruction {index}")
            _flow(states, work, following, after)
        if _is_direct_call(insn):
            _flow(states, work, index + 1 + insn.imm, _callee(state))
        elif _is_function_address(insn):
            _flow(states, work, index + 1 + insn.imm, _CALLBACK)
    index = 0
    while index < len(insns):
        if index not in states:
            raise InputError(f"{where}: instruction {index} is never reached")
        index += 2 if insns[index].opcode == isa.LD_IMM64 else 1
    context = (index for index, origin in origins.items() if origin is Origin.CONTEXT)
    kernel = (index for index, origin in origins.items() if origin is Origin.KERNEL)
    loads = (index for index in kernel if insns[index].cls == isa.LDX)
    depths = tuple((-lowest + 7) & ~7 for lowest in deepest)
    return Analysis(depths, map_of_call, frozenset(context), frozenset(loads))


def _note(table: dict[int, _T], index: int, value: _T | None) -> None:
    """What is known at an instruction now; what was known before may have been too much."""
    if value is None:
        table.pop(index, None)
    else:
        table[index] = value


def _flow(states: dict[int, _State], work: list[int], target: int, state: _State) -> None:
    merged = _merge(states.get(target), state)
    if merged != states.get(target):
        states[target] = merged
        work.append(target)


def _callee(state: _State) -> _State:
    """What a called function knows: its arguments, but not where its caller's frame lies."""
    arguments = (None if isinstance(v, int) else v for v in state[Reg.R1 : Reg.R5 + 1])
    return (None, *arguments, None, None, None, None, 0)


def _base(insn: Insn) -> int | None:
    """The register whose address a load or store accesses."""
    if insn.cls not in (isa.LDX, isa.ST, isa.STX):
        return None
    base = insn.src if insn.cls == isa.LDX else insn.dst
    return base if base <= Reg.FP else None


def _merge(old: _State | None, new: _State) -> _State:
    if old is None:
        return new
    return tuple(a if a == b else None for a, b in zip(old, new, strict=True))


def _deepest_access(insn: Insn, state: _State) -> int:
    """Lowest frame offset that the instruction uses as an address (0 if none)."""
    if insn.opcode == isa.JMP | isa.CALL:
        offsets = [value for value in state[Reg.R1 : Reg.R5 + 1] if isinstance(value, int)]
        return min(offsets, default=0)
    base = _base(insn)
    if base is not None:
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
        origin = state[insn.src] if insn.src <= Reg.FP else None
        pointer = isinstance(origin, Origin) and insn.opcode == isa.LDX | isa.MEM | isa.DW
        registers[insn.dst] = Origin.KERNEL if pointer else None
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
    if value is Origin.KERNEL and not insn.from_register and insn.op in (isa.ADD, isa.SUB):
        return value
    if isinstance(value, int) and not insn.from_register:
        if insn.op == isa.ADD:
            return value + insn.imm
        if insn.op == isa.SUB:
            return value - insn.imm
    return None


def result_read_wide(
    insns: Sequence[Insn], index: int, reached: Container[int] | None = None
) -> bool:
    """Whether r0 as instruction `index` leaves it may be read as a 64-bit value later, by one of
    the `reached` instructions if these are known.

    What the verifier asks before it zero-extends the result of a 32-bit cmpxchg
    (is_reg64, mark_insn_zext); returning from the program counts as such a read.
    """
    seen: set[int] = set()
    work = list(successors(insns[index], index))
    while work:
        at = work.pop()
        if at in seen or not 0 <= at < len(insns) or (reached is not None and at not in reached):
            continue
        seen.add(at)
        insn = insns[at]
        if insn.opcode == isa.JMP | isa.EXIT or _reads_r0_wide(insn):
            return True
        if not _writes_r0(insn):
            work += successors(insn, at)
    return False


def _reads_r0_wide(insn: Insn) -> bool:
    if insn.cls in (isa.ALU, isa.JMP32) or insn.opcode in (isa.LD_IMM64, isa.JMP | isa.CALL):
        return False
    if insn.cls == isa.ALU64:
        reads_dst = insn.op != isa.MOV and insn.dst == Reg.R0
        return reads_dst or (insn.from_register and insn.op != isa.END and insn.src == Reg.R0)
    if insn.cls == isa.JMP:
        if insn.op == isa.JA:
            return False
        return insn.dst == Reg.R0 or (insn.from_register and insn.src == Reg.R0)
    if insn.cls == isa.LDX:
        return insn.src == Reg.R0
    if insn.cls == isa.STX and insn.size == 8:
        compares = insn.mode == isa.ATOMIC and insn.imm == isa.CMPXCHG
        if insn.src == Reg.R0 or compares:
            return True
    return insn.cls in (isa.ST, isa.STX) and insn.dst == Reg.R0


def _writes_r0(insn: Insn) -> bool:
    if insn.opcode == isa.JMP | isa.CALL or (insn.cls == isa.LD and insn.opcode != isa.LD_IMM64):
        return True
    if insn.cls in (isa.ALU, isa.ALU64, isa.LDX) or insn.opcode == isa.LD_IMM64:
        return insn.dst == Reg.R0
    if insn.cls == isa.STX and insn.mode == isa.ATOMIC:
        return insn.imm == isa.CMPXCHG or (bool(insn.imm & isa.FETCH) and insn.src == Reg.R0)
    return False
