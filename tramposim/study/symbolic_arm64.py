"""arm64 instructions whose meaning is known: moves, loads, stores, sums with constants."""

from __future__ import annotations

from typing import Any

from tramposim.study.blockvalues import IMMEDIATE, MASK, MEMORY, REGISTER, BlockValues
from tramposim.study.terms import Term

__all__ = ["understood"]


def understood(block: BlockValues, insn: Any, name: str, operands: list[Any]) -> bool:
    """Carry out an instruction if its meaning is known; whether it was."""
    registers = [block.name(insn, o) for o in operands if o.type == REGISTER]
    if name == "mov" and len(registers) == 2 and len(operands) == 2:
        if block.wide(registers[0]) != block.wide(registers[1]) and registers[1][1:] != "zr":
            return False
        value = block.meaning.register(block.full(registers[1]))
        if not block.full(registers[1]):
            value = block.terms("constant", 0)
        block.write(registers[0], value)
        return True
    constant = len(operands) == 2 and operands[1].type == IMMEDIATE
    if name in ("mov", "movz", "movn", "movk") and constant:
        shift = operands[1].shift.value if operands[1].shift.type else 0
        number = operands[1].imm << shift & MASK
        if name == "movk":
            old = block.meaning.register(block.full(registers[0]))
            if old[0] != "constant" or not block.wide(registers[0]):
                return False
            number |= old[1] & ~(0xFFFF << shift)
        elif name == "movn":
            number = ~number & MASK
        block.write(registers[0], block.terms("constant", number))
        return True
    if name in ("and", "ands", "orr") and len(registers) == len(operands) == 3:
        values = [block.read(register) for register in registers[1:]]
        numbers = [value[1] for value in values if value[0] == "constant"]
        if len(numbers) == 2 and not operands[2].shift.type:
            both = numbers[0] | numbers[1] if name == "orr" else numbers[0] & numbers[1]
            block.write(registers[0], block.terms("constant", both))
            if name == "ands":
                block.meaning.registers["flags"] = block.terms("tested", tuple(values))
            return True
    if name == "neg" and len(registers) == len(operands) == 2 and not operands[1].shift.type:
        value = block.read(registers[1])
        if value[0] == "constant":
            block.write(registers[0], block.terms("constant", -value[1] & MASK))
            return True
    plain = len(operands) == 3 and operands[2].type == IMMEDIATE and len(registers) == 2
    if name in ("add", "sub") and plain and not operands[2].shift.type:
        if not (block.wide(registers[0]) and block.wide(registers[1])):
            return False
        number = operands[2].imm if name == "add" else -operands[2].imm
        block.write(
            registers[0], block.plus(block.meaning.register(block.full(registers[1])), number)
        )
        return True
    if (
        name in ("ldp", "stp")
        and len(registers) == 2
        and all(_pairable(block, register) for register in registers)
    ):
        return _pair(block, insn, name, operands, registers)
    if name in ("ldr", "str", "ldur", "stur") and len(operands) == 2:
        if insn.writeback or operands[1].type != MEMORY or operands[1].mem.index:
            return False
        if name.startswith("ld"):
            block.write(registers[0], block.load(insn, operands[1], registers[0]))
        else:
            value = block.meaning.register(block.full(registers[0]))
            if not block.full(registers[0]):
                value = block.terms("constant", 0)
            block.store(insn, operands[1], value, registers[0])
        return True
    return False


def _pairable(block: BlockValues, register: str) -> bool:
    return register == "xzr" or block.wide(register)


def _pair(
    block: BlockValues, insn: Any, name: str, operands: list[Any], registers: list[str]
) -> bool:
    """Two registers from or to memory, with or without change of the base."""
    memory = operands[2].mem
    if operands[2].type != MEMORY or memory.index or insn.op_str.count("[") != 1:
        return False
    base_name = str(insn.reg_name(memory.base))
    base = block.read(base_name)
    text = insn.op_str
    post = 0
    displacement = memory.disp
    if "]," in text:
        post = int(text.rsplit("#", 1)[1], 0)
        displacement = 0
    place = block.plus(base, displacement)
    at, offset = (place[1], place[2]) if place[0] == "sum" else (place, 0)
    if name == "ldp":
        values = [block.load_at(at, offset + 8 * n, 8) for n in range(2)]
        _write_back(block, text, base_name, base, displacement, post)
        for register, value in zip(registers, values, strict=True):
            block.write(register, value)
    else:
        for number, register in enumerate(registers):
            value = block.terms("constant", 0) if register == "xzr" else block.read(register)
            block.store_at(at, offset + 8 * number, 8, value)
        _write_back(block, text, base_name, base, displacement, post)
    return True


def _write_back(
    block: BlockValues, text: str, name: str, base: Term, before: int, after: int
) -> None:
    if text.endswith("!"):
        block.write(name, block.plus(base, before))
    elif after:
        block.write(name, block.plus(base, after))
