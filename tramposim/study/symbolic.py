"""Straight-line code as symbolic values: what a basic block computes, for comparison.

Registers and memory hold expressions over their values before the block. Moves, constants
and sums with constants are understood; every other instruction is a function of what it
reads, of which nothing is known but that equal inputs give equal results. So two blocks with
equal expressions do the same; unequal ones may.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tramposim.spec import Arch
from tramposim.study import symbolic_arm64, symbolic_x86_64
from tramposim.study.blockvalues import IMMEDIATE, MEMORY, REGISTER, BlockValues, TooHard
from tramposim.study.mutants import Decoded
from tramposim.study.terms import Meaning, Terms

__all__ = ["meaning_of"]

_UNDERSTOOD = {Arch.X86_64: symbolic_x86_64.understood, Arch.ARM64: symbolic_arm64.understood}
"""By architecture: carries out an instruction if its meaning is known."""
_COMPARISONS = {"cmp": "subs", "cmn": "adds", "tst": "ands"}
_REGISTER_NAME = re.compile(r"\b(?:[xw](?:\d+|zr)|w?sp)\b")


def meaning_of(
    arch: Arch,
    block: Sequence[Decoded],
    full: Callable[[str | None], str],
    partial: Callable[[str], bool],
    known: Mapping[str, int],
    terms: Terms,
) -> Meaning | None:
    """What the block does, or None if that is not followed.

    `full` gives a register's full name, `partial` whether a write leaves the rest of it;
    `known` are registers with constants before the block. Blocks that are to be compared are
    given the same `terms`.
    """
    values = BlockValues(arch, full, partial, terms)
    values.meaning.registers |= {name: terms("constant", value) for name, value in known.items()}
    try:
        for one in block:
            _step(values, one)
    except TooHard:
        return None
    return values.meaning


def _step(values: BlockValues, one: Decoded) -> None:
    insn = one.insn
    name = insn.mnemonic
    if name == "nop" or name.endswith(" nop"):
        return
    operands = list(insn.operands)
    if not _UNDERSTOOD[values.arch](values, insn, name, operands):
        _unknown(values, insn, name, operands)


def _unknown(values: BlockValues, insn: Any, name: str, operands: list[Any]) -> None:
    """A function of everything that the instruction reads."""
    reads, writes = insn.regs_access()
    inputs: list[Any] = []
    outputs: dict[str, int] = {}
    touches = False
    for number, operand in enumerate(operands):
        if operand.type == REGISTER:
            register = values.name(insn, operand)
            shift = getattr(operand, "shift", None)
            form = (shift.type, shift.value) if shift is not None else ()
            reading = operand.access & 1 or not operand.access
            inputs.append((
                number, values.wide(register), form,
                values.read(register) if reading else None,
            ))  # fmt: skip
            if operand.access & 2:
                outputs[values.full(register)] = number
                if values.leaves_rest(register):
                    inputs.append(values.meaning.register(values.full(register)))
        elif operand.type == IMMEDIATE:
            inputs.append((number, operand.imm))
        elif operand.type == MEMORY:
            inputs.append((number, values.place(insn, operand), getattr(operand, "size", 0)))
            touches = True
        else:
            raise TooHard
    if values.arch is Arch.ARM64 and name in _COMPARISONS:
        name = _COMPARISONS[name]
        inputs = [(number + 1, *rest) for number, *rest in inputs]
    elif values.arch is Arch.ARM64 and operands and operands[0].access & 3 == 2:
        inputs = inputs[1:]
    explicit = {values.name(insn, o) for o in operands if o.type == REGISTER}
    implicit = sorted({str(insn.reg_name(r)) for r in reads} - explicit)
    inputs += [
        (register, values.meaning.register(values.full(register) or register))
        for register in implicit
    ]
    # Shifts, conditions and the like of an arm64 instruction are part of its text only.
    text = "" if values.arch is Arch.X86_64 else _form(insn.op_str)
    if name in _COMPARISONS.values() and not text.startswith("r, r, "):
        text = f"r, {text}"
    key = values.terms(name, text, tuple(inputs))
    if touches or name in ("push", "pop", "leave") or "lock" in name:
        state = tuple(values.meaning.memory.items()), len(values.meaning.effects)
        key = values.terms(*key, *state)
        values.meaning.effects.append(key)
    for register in {values.full(str(insn.reg_name(r))) for r in writes}:
        if register:
            values.meaning.registers[register] = values.terms(key, outputs.get(register, register))


def _form(text: str) -> str:
    """Operands without the registers' names."""
    return _REGISTER_NAME.sub("r", text)
