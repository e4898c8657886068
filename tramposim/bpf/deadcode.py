"""Removal of what the verifier never reaches (opt_hard_wire_dead_code_branches and what follows).

Conditional jumps that go one way only become jumps, unreached instructions and jumps to the
next instruction go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tramposim.bpf import insn as isa
from tramposim.bpf.constants import fold_branches
from tramposim.bpf.explore import reached
from tramposim.bpf.insn import Insn, Pseudo, decode, encode
from tramposim.bpf.stack import result_read_wide, successors
from tramposim.bpf.steps import Facts
from tramposim.errors import UnsupportedError
from tramposim.spec import MapFlag, Program, Relocation

__all__ = ["LiveProgram", "live_program"]

_NARROW = isa.STX | isa.ATOMIC | isa.W


@dataclass(frozen=True, slots=True)
class LiveProgram:
    """A program without dead code; `tail_calls` are map and index of the tail calls (by
    instruction) for which both are constant, `wide` the 32-bit cmpxchg whose results are read
    as 64-bit values, if only by branches that go one way."""

    program: Program
    tail_calls: Mapping[int, tuple[str, int]]
    wide: frozenset[int]


def live_program(program: Program, version: tuple[int, int]) -> LiveProgram:
    """The program without what the verifier of this kernel version never reaches.

    Raises `UnsupportedError` if that takes too long to tell.
    """
    insns = decode(program.insns)
    facts = _facts(program, version)
    if version >= (7, 1):
        insns = fold_branches(insns, facts)
    reach = reached(insns, facts, program.name)
    kept = _kept(insns, reach.instructions)
    wired = [_wired(insns, index, reach.instructions) for index in range(len(insns))]
    while True:
        idle = [i for i in kept if _is_idle(wired, kept, i)]
        if not idle:
            break
        drop = set(idle)
        kept = [i for i in kept if i not in drop]
        if version < (7, 0):
            break
    places = {index: number for number, index in enumerate(kept)}
    calls = {places[i]: call for i, call in reach.tail_calls.items() if call is not None}
    wide = frozenset(
        place
        for index, place in places.items()
        if insns[index].opcode == _NARROW
        and insns[index].imm == isa.CMPXCHG
        and result_read_wide(insns, index, reach.instructions)
    )
    return LiveProgram(_renumbered(program, wired, places), calls, wide)


def _facts(program: Program, version: tuple[int, int]) -> Facts:
    insns = decode(program.insns)
    frozen = {
        m.name: m.content + bytes(m.value_size * m.max_entries - len(m.content))
        for m in program.maps
        if m.flags & MapFlag.RDONLY_PROG
    }
    return Facts(
        maps={i: name for i, kind, name in program.relocations if kind is Relocation.MAP},
        values={
            i: (name, insns[i + 1].imm)
            for i, kind, name in program.relocations
            if kind is Relocation.MAP_VALUE
        },
        content=frozen,
        recent=version >= (7, 0),
    )


def _kept(insns: list[Insn], seen: frozenset[int]) -> list[int]:
    """Instructions that stay, with the second slots of 64-bit loads."""
    kept: list[int] = []
    for index in range(len(insns)):
        second = index > 0 and insns[index - 1].opcode == isa.LD_IMM64 and insns[index].opcode == 0
        if index in seen or (second and kept and kept[-1] == index - 1):
            kept.append(index)
    return kept


def _wired(insns: list[Insn], index: int, seen: frozenset[int]) -> Insn:
    insn = insns[index]
    if insn.cls not in (isa.JMP, isa.JMP32) or insn.op in (isa.JA, isa.CALL, isa.EXIT, isa.JCOND):
        return insn
    if index not in seen:
        return insn
    if index + 1 not in seen:
        return Insn(isa.JMP | isa.JA, offset=insn.offset)
    if index + 1 + insn.offset not in seen:
        return Insn(isa.JMP | isa.JA)
    return insn


def _is_idle(wired: list[Insn], kept: list[int], index: int) -> bool:
    """Whether an instruction jumps to the next one that stays."""
    insn = wired[index]
    if insn.opcode not in (isa.JMP | isa.JA, isa.MAY_GOTO):
        return False
    target = index + 1 + insn.offset
    low, high = min(index, target - 1), max(index, target - 1)
    between = [i for i in kept if low <= i <= high]
    return between == [index]


def _renumbered(program: Program, wired: list[Insn], places: dict[int, int]) -> Program:
    """The kept instructions with jumps, calls and relocations corrected."""
    following = _next_kept(len(wired), places)
    result: list[Insn] = []
    for index, number in places.items():
        insn = wired[index]
        moved = insn
        if insn.opcode == isa.JMP32 | isa.JA or _refers(insn):
            moved = replace(insn, imm=following[index + 1 + insn.imm] - number - 1)
        elif insn.cls in (isa.JMP, isa.JMP32) and insn.op not in (isa.CALL, isa.EXIT):
            distance = following[successors(insn, index)[-1]] - number - 1
            moved = replace(insn, offset=distance)
        result.append(moved)
    return replace(
        program,
        insns=encode(result),
        relocations=tuple((places[i], k, n) for i, k, n in program.relocations if i in places),
        kfuncs=tuple((places[i], name) for i, name in program.kfuncs if i in places),
        lines=tuple((following[i], text) for i, text in program.lines if i in places),
    )


def _refers(insn: Insn) -> bool:
    """Whether the immediate leads to a function of the program."""
    if insn.opcode == isa.JMP | isa.CALL:
        return insn.src == Pseudo.CALL
    return insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC


def _next_kept(count: int, places: dict[int, int]) -> list[int]:
    """For each instruction the new number of the first one from it on that stays."""
    following = [len(places)] * (count + 1)
    for index in range(count - 1, -1, -1):
        following[index] = places.get(index, following[index + 1])
    if not places:
        raise UnsupportedError("a program of which nothing is reached")
    return following
