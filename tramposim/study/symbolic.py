"""Straight-line code as symbolic values: what a basic block computes, for comparison.

Registers and memory hold expressions over their values before the block. Moves, constants
and sums with constants are understood; every other instruction is a function of what it
reads, of which nothing is known but that equal inputs give equal results. So two blocks with
equal expressions do the same; unequal ones may. Equal expressions are one object: written
out, an expression doubles with every instruction that reads a value twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tramposim.spec import Arch
from tramposim.study.mutants import Decoded

__all__ = ["Meaning", "meaning_of"]

_MASK = (1 << 64) - 1
_REGISTER, _IMMEDIATE, _MEMORY = 1, 2, 3
_X86_MEMORY = _MEMORY


class Term(tuple[Any, ...]):
    """An expression: its parts. Made by `Terms` only, where equal ones are the same."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


class Terms:
    """All expressions of the blocks that are compared."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Term] = {}

    def __call__(self, *parts: Any) -> Term:
        """The expression with these parts; plain tuples among them become expressions."""
        key = tuple(self(*part) if type(part) is tuple else part for part in parts)
        term = self._known.get(key)
        if term is None:
            term = self._known[key] = Term(key)
        return term


class _TooHard(Exception):
    """The block does something whose meaning is not followed."""


@dataclass(slots=True)
class Meaning:
    """Registers by full name, memory by (base, displacement, bytes), and how the block ends."""

    terms: Terms
    registers: dict[str, Term] = field(default_factory=dict)
    memory: dict[tuple[Term, int, int], Term] = field(default_factory=dict)
    effects: list[Term] = field(default_factory=list)

    def register(self, name: str) -> Term:
        """The value of a register."""
        return self.registers.get(name) or self.terms("initial", name)


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
    run = _Run(arch, full, partial, terms)
    run.meaning.registers |= {name: terms("constant", value) for name, value in known.items()}
    try:
        for one in block:
            run.step(one)
    except _TooHard:
        return None
    return run.meaning


class _Run:
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

    def _sum(self, value: Term, number: int) -> Term:
        if value[0] == "constant":
            return self.terms("constant", value[1] + number & _MASK)
        if value[0] == "sum":
            value, number = value[1], value[2] + number
        return self.terms("sum", value, number) if number else value

    def step(self, one: Decoded) -> None:
        insn = one.insn
        name = insn.mnemonic
        if name == "nop" or name.endswith(" nop"):
            return
        operands = list(insn.operands)
        if self.arch is Arch.X86_64 and self._x86_64(insn, name, operands):
            return
        if self.arch is Arch.ARM64 and self._arm64(insn, name, operands):
            return
        self._unknown(insn, name, operands)

    def _name(self, insn: Any, operand: Any) -> str:
        return str(insn.reg_name(operand.reg))

    def _wide(self, name: str) -> bool:
        """Whether this is all 64 bits of a register."""
        return name in ("fp", "lr") or name == self.full(name)

    def _leaves_rest(self, name: str) -> bool:
        return self.arch is Arch.X86_64 and self.partial(name)

    def _set(self, name: str, value: Term) -> None:
        full = self.full(name)
        if not full:
            return
        if not self._wide(name):
            if self._leaves_rest(name):
                raise _TooHard
            if value[0] == "constant":
                value = self.terms("constant", value[1] & 0xFFFFFFFF)
            else:
                value = self.terms("low32", value)
        self.meaning.registers[full] = value

    def _get(self, name: str) -> Term:
        full = self.full(name)
        if not full:
            return self.terms("constant", 0)
        value = self.meaning.register(full)
        if self._wide(name):
            return value
        return self.terms(name[0], name[-1] if name[-1] in "lhwbd" else "", value)

    def _x86_64(self, insn: Any, name: str, operands: list[Any]) -> bool:
        if name in ("mov", "movabs") and len(operands) == 2:
            target, source = operands
            if target.type == _REGISTER and source.type == _REGISTER:
                to, what = self._name(insn, target), self._name(insn, source)
                if self._wide(what) != self._wide(to) or self._leaves_rest(to):
                    raise _TooHard
                self._set(to, self.meaning.register(self.full(what)))
                return True
            if target.type == _REGISTER and source.type == _IMMEDIATE:
                self._set(self._name(insn, target), self.terms("constant", source.imm & _MASK))
                return True
            if target.type == _REGISTER and target.size >= 4:
                self._set(self._name(insn, target), self._load(insn, source))
                return True
            if target.type == _X86_MEMORY:
                value: Term = self.terms("constant", operands[1].imm & _MASK)
                if source.type == _REGISTER:
                    value = self.meaning.register(self.full(self._name(insn, source)))
                self._store(insn, target, value)
                return True
            return False
        if name == "lea" and operands[0].size == 8 and operands[1].mem.index == 0:
            base, displacement = self._place(insn, operands[1])
            self._set(self._name(insn, operands[0]), self._sum(base, displacement))
            return True
        both = len(operands) == 2 and all(o.type == _REGISTER for o in operands)
        if name in ("xor", "sub") and both and operands[0].reg == operands[1].reg:
            self._set(self._name(insn, operands[0]), self.terms("constant", 0))
            self.meaning.registers["flags"] = self.terms("zero", operands[0].size)
            return True
        if name == "neg" and operands[0].type == _REGISTER and operands[0].size == 8:
            value = self._get(self._name(insn, operands[0]))
            if value[0] == "constant":
                self._set(self._name(insn, operands[0]), self.terms("constant", -value[1] & _MASK))
                self.meaning.registers["flags"] = self.terms("negated", value)
                return True
        if name in ("test", "and", "or") and both and operands[0].size == 8:
            values = [self._get(self._name(insn, operand)) for operand in operands]
            if values[0] == values[1]:
                self.meaning.registers["flags"] = self.terms("tested", values[0])
                return True
        return False

    def _arm64(self, insn: Any, name: str, operands: list[Any]) -> bool:
        registers = [self._name(insn, o) for o in operands if o.type == _REGISTER]
        if name == "mov" and len(registers) == 2 and len(operands) == 2:
            if self._wide(registers[0]) != self._wide(registers[1]) and registers[1][1:] != "zr":
                return False
            value = self.meaning.register(self.full(registers[1]))
            if not self.full(registers[1]):
                value = self.terms("constant", 0)
            self._set(registers[0], value)
            return True
        constant = len(operands) == 2 and operands[1].type == _IMMEDIATE
        if name in ("mov", "movz", "movn", "movk") and constant:
            shift = operands[1].shift.value if operands[1].shift.type else 0
            number = operands[1].imm << shift & _MASK
            if name == "movk":
                old = self.meaning.register(self.full(registers[0]))
                if old[0] != "constant" or not self._wide(registers[0]):
                    return False
                number |= old[1] & ~(0xFFFF << shift)
            elif name == "movn":
                number = ~number & _MASK
            self._set(registers[0], self.terms("constant", number))
            return True
        if name in ("and", "ands", "orr") and len(registers) == len(operands) == 3:
            values = [self._get(register) for register in registers[1:]]
            numbers = [value[1] for value in values if value[0] == "constant"]
            if len(numbers) == 2 and not operands[2].shift.type:
                both = numbers[0] | numbers[1] if name == "orr" else numbers[0] & numbers[1]
                self._set(registers[0], self.terms("constant", both))
                if name == "ands":
                    self.meaning.registers["flags"] = self.terms("tested", tuple(values))
                return True
        if name == "neg" and len(registers) == len(operands) == 2 and not operands[1].shift.type:
            value = self._get(registers[1])
            if value[0] == "constant":
                self._set(registers[0], self.terms("constant", -value[1] & _MASK))
                return True
        plain = len(operands) == 3 and operands[2].type == _IMMEDIATE and len(registers) == 2
        if name in ("add", "sub") and plain and not operands[2].shift.type:
            if not (self._wide(registers[0]) and self._wide(registers[1])):
                return False
            number = operands[2].imm if name == "add" else -operands[2].imm
            self._set(
                registers[0], self._sum(self.meaning.register(self.full(registers[1])), number)
            )
            return True
        if name in ("ldp", "stp") and len(registers) == 2 and all(map(self._pairable, registers)):
            return self._pair(insn, name, operands, registers)
        if name in ("ldr", "str", "ldur", "stur") and len(operands) == 2:
            if insn.writeback or operands[1].type != _MEMORY or operands[1].mem.index:
                return False
            if name.startswith("ld"):
                self._set(registers[0], self._load(insn, operands[1], registers[0]))
            else:
                value = self.meaning.register(self.full(registers[0]))
                if not self.full(registers[0]):
                    value = self.terms("constant", 0)
                self._store(insn, operands[1], value, registers[0])
            return True
        return False

    def _pairable(self, register: str) -> bool:
        return register == "xzr" or self._wide(register)

    def _pair(self, insn: Any, name: str, operands: list[Any], registers: list[str]) -> bool:
        """Two registers from or to memory, with or without change of the base."""
        memory = operands[2].mem
        if operands[2].type != _MEMORY or memory.index or insn.op_str.count("[") != 1:
            return False
        base_name = str(insn.reg_name(memory.base))
        base = self._get(base_name)
        text = insn.op_str
        post = 0
        displacement = memory.disp
        if "]," in text:
            post = int(text.rsplit("#", 1)[1], 0)
            displacement = 0
        place = self._sum(base, displacement)
        at, offset = (place[1], place[2]) if place[0] == "sum" else (place, 0)
        if name == "ldp":
            values = [self._load_at(at, offset + 8 * n, 8) for n in range(2)]
            self._write_back(text, base_name, base, displacement, post)
            for register, value in zip(registers, values, strict=True):
                self._set(register, value)
        else:
            for number, register in enumerate(registers):
                value = self.terms("constant", 0) if register == "xzr" else self._get(register)
                self._store_at(at, offset + 8 * number, 8, value)
            self._write_back(text, base_name, base, displacement, post)
        return True

    def _write_back(self, text: str, name: str, base: Term, before: int, after: int) -> None:
        if text.endswith("!"):
            self._set(name, self._sum(base, before))
        elif after:
            self._set(name, self._sum(base, after))

    def _place(self, insn: Any, operand: Any) -> tuple[Term, int]:
        """Base expression and displacement of an address."""
        memory = operand.mem
        base: Term = self.terms("constant", 0)
        if memory.base:
            base = self._get(str(insn.reg_name(memory.base)))
        if memory.index:
            index = self._get(str(insn.reg_name(memory.index)))
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

    def _size(self, operand: Any, register: str) -> int:
        if self.arch is Arch.X86_64:
            return int(operand.size)
        return 8 if self._wide(register) or register == "xzr" else 4

    def _load(self, insn: Any, operand: Any, register: str = "") -> Term:
        base, displacement = self._place(insn, operand)
        return self._load_at(base, displacement, self._size(operand, register))

    def _load_at(self, base: Term, displacement: int, size: int) -> Term:
        known = self.meaning.memory.get((base, displacement, size))
        if known is not None:
            return known
        clear = all(
            other == base and (at + width <= displacement or displacement + size <= at)
            for other, at, width in self.meaning.memory
        )
        state = () if clear else tuple(self.meaning.memory.items())
        return self.terms("load", base, displacement, size, state, len(self.meaning.effects))

    def _store(self, insn: Any, operand: Any, value: Term, register: str = "") -> None:
        base, displacement = self._place(insn, operand)
        self._store_at(base, displacement, self._size(operand, register), value)

    def _store_at(self, base: Term, displacement: int, size: int, value: Term) -> None:
        if size < 8 and value[0] == "constant":
            value = self.terms("constant", value[1] & (1 << 8 * size) - 1)
        for other, at, width in list(self.meaning.memory):
            if other == base and displacement <= at and at + width <= displacement + size:
                del self.meaning.memory[other, at, width]
        for other, at, width in self.meaning.memory:
            apart = at + width <= displacement or displacement + size <= at
            same = (other, at, width) == (base, displacement, size)
            if other != base or not (apart or same):
                raise _TooHard
        self.meaning.memory[base, displacement, size] = value

    def _unknown(self, insn: Any, name: str, operands: list[Any]) -> None:
        """A function of everything that the instruction reads."""
        reads, writes = insn.regs_access()
        inputs: list[Any] = []
        outputs: dict[str, int] = {}
        touches = False
        for number, operand in enumerate(operands):
            if operand.type == _REGISTER:
                register = self._name(insn, operand)
                shift = getattr(operand, "shift", None)
                form = (shift.type, shift.value) if shift is not None else ()
                reading = operand.access & 1 or not operand.access
                inputs.append((
                    number, self._wide(register), form,
                    self._get(register) if reading else None,
                ))  # fmt: skip
                if operand.access & 2:
                    outputs[self.full(register)] = number
                    if self._leaves_rest(register):
                        inputs.append(self.meaning.register(self.full(register)))
            elif operand.type == _IMMEDIATE:
                inputs.append((number, operand.imm, str(getattr(operand, "shift", ""))[:0]))
            elif operand.type == _MEMORY:
                inputs.append((number, self._place(insn, operand), getattr(operand, "size", 0)))
                touches = True
            else:
                raise _TooHard
        if self.arch is Arch.ARM64 and name in _COMPARISONS:
            name = _COMPARISONS[name]
            inputs = [(number + 1, *rest) for number, *rest in inputs]
        elif self.arch is Arch.ARM64 and operands and operands[0].access & 3 == 2:
            inputs = inputs[1:]
        explicit = {self._name(insn, o) for o in operands if o.type == _REGISTER}
        implicit = sorted({str(insn.reg_name(r)) for r in reads} - explicit)
        inputs += [(register, self._get_any(register)) for register in implicit]
        # Shifts, conditions and the like of an arm64 instruction are part of its text only.
        text = "" if self.arch is Arch.X86_64 else _form(insn.op_str)
        if name in _COMPARISONS.values() and not text.startswith("r, r, "):
            text = f"r, {text}"
        key = self.terms(name, text, tuple(inputs))
        if touches or name in ("push", "pop", "leave") or "lock" in name:
            state = tuple(self.meaning.memory.items()), len(self.meaning.effects)
            key = self.terms(*key, *state)
            self.meaning.effects.append(key)
        for register in {self.full(str(insn.reg_name(r))) for r in writes}:
            if register:
                self.meaning.registers[register] = self.terms(key, outputs.get(register, register))

    def _get_any(self, register: str) -> Term:
        return self.meaning.register(self.full(register) or register)


def _form(text: str) -> str:
    """Operands without the registers' names."""
    return _REGISTER_NAME.sub("r", text)


_COMPARISONS = {"cmp": "subs", "cmn": "adds", "tst": "ands"}
_REGISTER_NAME = re.compile(r"\b(?:[xw](?:\d+|zr)|w?sp)\b")
