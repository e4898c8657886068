"""x86_64 instructions whose meaning is known: moves, loads, stores, sums with constants."""

from __future__ import annotations

from typing import Any

from tramposim.study.blockvalues import IMMEDIATE, MASK, MEMORY, REGISTER, BlockValues, TooHard
from tramposim.study.terms import Term

__all__ = ["understood"]


def understood(block: BlockValues, insn: Any, name: str, operands: list[Any]) -> bool:
    """Carry out an instruction if its meaning is known; whether it was."""
    if name in ("mov", "movabs") and len(operands) == 2:
        target, source = operands
        if target.type == REGISTER and source.type == REGISTER:
            to, what = block.name(insn, target), block.name(insn, source)
            if block.wide(what) != block.wide(to) or block.leaves_rest(to):
                raise TooHard
            block.write(to, block.meaning.register(block.full(what)))
            return True
        if target.type == REGISTER and source.type == IMMEDIATE:
            block.write(block.name(insn, target), block.terms("constant", source.imm & MASK))
            return True
        if target.type == REGISTER and target.size >= 4:
            block.write(block.name(insn, target), block.load(insn, source))
            return True
        if target.type == MEMORY:
            value: Term = block.terms("constant", operands[1].imm & MASK)
            if source.type == REGISTER:
                value = block.meaning.register(block.full(block.name(insn, source)))
            block.store(insn, target, value)
            return True
        return False
    if name == "lea" and operands[0].size == 8 and operands[1].mem.index == 0:
        base, displacement = block.place(insn, operands[1])
        block.write(block.name(insn, operands[0]), block.plus(base, displacement))
        return True
    both = len(operands) == 2 and all(o.type == REGISTER for o in operands)
    if name in ("xor", "sub") and both and operands[0].reg == operands[1].reg:
        block.write(block.name(insn, operands[0]), block.terms("constant", 0))
        block.meaning.registers["flags"] = block.terms("zero", operands[0].size)
        return True
    if name == "neg" and operands[0].type == REGISTER and operands[0].size == 8:
        value = block.read(block.name(insn, operands[0]))
        if value[0] == "constant":
            block.write(block.name(insn, operands[0]), block.terms("constant", -value[1] & MASK))
            block.meaning.registers["flags"] = block.terms("negated", value)
            return True
    if name in ("test", "and", "or") and both and operands[0].size == 8:
        values = [block.read(block.name(insn, operand)) for operand in operands]
        if values[0] == values[1]:
            block.meaning.registers["flags"] = block.terms("tested", values[0])
            return True
    return False
