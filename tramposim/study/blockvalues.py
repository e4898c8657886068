"""Values of registers and memory in a block of code, as its instructions change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tramposim.spec import Arch
from tramposim.study.terms import Meaning, Term, Terms

__all__ = ["IMMEDIATE", "MASK", "MEMORY", "REGISTER", "BlockValues", "TooHard"]

MASK = (1 << 64) - 1
REGISTER, IMMEDIATE, MEMORY = 1, 2, 3
"""Kinds of operands, of one number for both architectures (capstone's CS_OP_REG ...)."""


class TooHard(Exception):
    """The block does something whose meaning is not followed."""


class BlockValues:
    """The values between two instructions; `meaning` holds them."""

    def __init__(
        self,
        arch: Arch,
        full: Callable[[str | None], str],
        partial: Callable[[str], bool],
        terms: Terms,
    ) -> None:
        self.arch = arch
        self.full = full
        self.partial = partial
        self.terms = terms
        self.meaning = Meaning(terms)

    def plus(self, value: Term, number: int) -> Term:
        """A value plus a number."""
        if value[0] == "constant":
            return self.terms("constant", value[1] + number & MASK)
        if value[0] == "sum":
            value, number = value[1], value[2] + number
        return self.terms("sum", value, number) if number else value

    def name(self, insn: Any, operand: Any) -> str:
        """The register that an operand is."""
        return str(insn.reg_name(operand.reg))

    def wide(self, name: str) -> bool:
        """Whether this is all 64 bits of a register."""
        return name in ("fp", "lr") or name == self.full(name)

    def leaves_rest(self, name: str) -> bool:
        """Whether a write leaves the rest of the full register."""
        return self.arch is Arch.X86_64 and self.partial(name)

    def write(self, name: str, value: Term) -> None:
        """Write a register by any of its names."""
        full = self.full(name)
        if not full:
            return
        if not self.wide(name):
            if self.leaves_rest(name):
                raise TooHard
            if value[0] == "constant":
                value = self.terms("constant", value[1] & 0xFFFFFFFF)
            else:
                value = self.terms("low32", value)
        self.meaning.registers[full] = value

    def read(self, name: str) -> Term:
        """Read a register by any of its names."""
        full = self.full(name)
        if not full:
            return self.terms("constant", 0)
        value = self.meaning.register(full)
        if self.wide(name):
            return value
        return self.terms(name[0], name[-1] if name[-1] in "lhwbd" else "", value)

    def place(self, insn: Any, operand: Any) -> tuple[Term, int]:
        """Base expression and displacement of an address."""
        memory = operand.mem
        base: Term = self.terms("constant", 0)
        if memory.base:
            base = self.read(str(insn.reg_name(memory.base)))
        if memory.index:
            index = self.read(str(insn.reg_name(memory.index)))
            base = self.terms(
                "indexed", base, index, getattr(memory, "scale", str(operand.shift.value))
            )
        segment = getattr(memory, "segment", 0)
        if segment:
            base = self.terms("segment", segment, base)
        displacement = memory.disp
        if base[0] == "sum":
            base, displacement = base[1], base[2] + displacement
        return base, displacement

    def size(self, operand: Any, register: str) -> int:
        """Bytes of an access (arm64: by the register)."""
        if self.arch is Arch.X86_64:
            return int(operand.size)
        return 8 if self.wide(register) or register == "xzr" else 4

    def load(self, insn: Any, operand: Any, register: str = "") -> Term:
        """What a load from an operand gives."""
        base, displacement = self.place(insn, operand)
        return self.load_at(base, displacement, self.size(operand, register))

    def load_at(self, base: Term, displacement: int, size: int) -> Term:
        """What a load gives: the stored value, or a function of all memory."""
        known = self.meaning.memory.get((base, displacement, size))
        if known is not None:
            return known
        clear = all(
            other == base and (at + width <= displacement or displacement + size <= at)
            for other, at, width in self.meaning.memory
        )
        state = () if clear else tuple(self.meaning.memory.items())
        return self.terms("load", base, displacement, size, state, len(self.meaning.effects))

    def store(self, insn: Any, operand: Any, value: Term, register: str = "") -> None:
        """Store to an operand."""
        base, displacement = self.place(insn, operand)
        self.store_at(base, displacement, self.size(operand, register), value)

    def store_at(self, base: Term, displacement: int, size: int, value: Term) -> None:
        """Store; raises `TooHard` where it may overlap another stored value."""
        if size < 8 and value[0] == "constant":
            value = self.terms("constant", value[1] & (1 << 8 * size) - 1)
        for other, at, width in list(self.meaning.memory):
            if other == base and displacement <= at and at + width <= displacement + size:
                del self.meaning.memory[other, at, width]
        for other, at, width in self.meaning.memory:
            apart = at + width <= displacement or displacement + size <= at
            same = (other, at, width) == (base, displacement, size)
            if other != base or not (apart or same):
                raise TooHard
        self.meaning.memory[base, displacement, size] = value
