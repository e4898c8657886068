"""Conditional jumps on the state that the verifier tracks: where they go, and what that tells."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.bpf import insn as isa
from tramposim.bpf import scalarmath
from tramposim.bpf.conditions import outcome, refine
from tramposim.bpf.insn import Insn
from tramposim.bpf.scalars import Scalar, constant, unknown
from tramposim.bpf.verifierstate import Location, Note, Pointer, State, Value

__all__ = ["Comparison", "compare", "learn"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A conditional jump: whether it is taken, if known, and the places that decide it."""

    taken: bool | None
    decisive: tuple[Location, ...]
    notes: tuple[Note, ...]


def compare(state: State, insn: Insn, recent: bool) -> Comparison:
    """What a conditional jump does (`recent`: for a kernel from 7.0 on)."""
    depth = len(state.frames) - 1
    registers, wide = state.frame.registers, insn.cls == isa.JMP
    a = registers[insn.dst]
    b: Value = registers[insn.src] if insn.from_register else constant(insn.imm)
    places: tuple[Location, ...] = ((depth, insn.dst),)
    if insn.from_register:
        places = (*places, (depth, insn.src))
    if isinstance(a, Pointer) or isinstance(b, Pointer):
        return Comparison(_pointer_outcome(insn, a, b, wide), (), ())
    a = a if isinstance(a, Scalar) else unknown()
    b = b if isinstance(b, Scalar) else unknown()
    same = recent and insn.from_register and insn.dst == insn.src
    taken = outcome(insn.op, a, b, wide, same)
    group = list(places)
    for value in (a, b):
        if value.link:
            group += [place for place, _ in state.linked(value.link)]
    notes = (Note(tuple(group), tuple(group)),) if taken is None and len(group) > 1 else ()
    return Comparison(taken, places, notes)


def learn(state: State, insn: Insn, taken: bool) -> None:
    """Put what the outcome of a conditional jump tells into the state."""
    registers, wide = state.frame.registers, insn.cls == isa.JMP
    a = registers[insn.dst]
    b: Value = registers[insn.src] if insn.from_register else constant(insn.imm)
    if isinstance(a, Pointer) or isinstance(b, Pointer):
        _learn_null(state, insn, a, b, taken)
        return
    if insn.from_register and insn.dst == insn.src:
        return
    a = a if isinstance(a, Scalar) else unknown()
    b = b if isinstance(b, Scalar) else unknown()
    new_a, new_b = refine(insn.op, taken, a, b, wide)
    registers[insn.dst] = new_a
    if insn.from_register:
        registers[insn.src] = new_b
    for new in (new_a, new_b):
        if new.link:
            _spread(state, new)


def _spread(state: State, known: Scalar) -> None:
    """Give what was learned about a number to those that differ from it by a constant."""
    for place, other in list(state.linked(known.link)):
        if other is known:
            continue
        new = known.copy()
        if other.delta != known.delta:
            new = scalarmath.arithmetic(isa.ADD, known, constant(other.delta - known.delta), True)
            new.link = other.link
        new.delta = other.delta
        state.put(place, new)


def _learn_null(state: State, insn: Insn, a: Value, b: Value, taken: bool) -> None:
    if insn.op not in (isa.JEQ, isa.JNE) or insn.cls != isa.JMP:
        return
    pointer, other = (a, b) if isinstance(a, Pointer) else (b, a)
    if not isinstance(pointer, Pointer) or not pointer.null:
        return
    if not isinstance(other, Scalar) or other.value != 0:
        return
    is_null = taken == (insn.op == isa.JEQ)
    for depth, frame in enumerate(state.frames):
        places = [(n, v) for n, v in enumerate(frame.registers)]
        places += [(n, slot.value) for n, slot in frame.slots.items()]
        for number, value in places:
            if isinstance(value, Pointer) and value.null == pointer.null:
                known: Value = Pointer(value.kind, value.what, value.offset)
                state.put((depth, number), constant(0) if is_null else known)


def _pointer_outcome(insn: Insn, a: Value, b: Value, wide: bool) -> bool | None:
    """Only a pointer that cannot be null says something: it is not 0."""
    pointer, other = (a, b) if isinstance(a, Pointer) else (b, a)
    if not wide or not isinstance(pointer, Pointer) or pointer.kind != "value" or pointer.null:
        return None
    if not isinstance(other, Scalar) or other.value != 0:
        return None
    return {isa.JEQ: False, isa.JNE: True}.get(insn.op)
