"""What translation rules are written with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from tramposim._native.rules import IMM64, Value
from tramposim._native.translator import KEY_IMM, KEY_OFFSET, TWO_RECORDS
from tramposim.bpf import insn as isa
from tramposim.errors import UnsupportedError
from tramposim.jit.versions import JitRules

__all__ = ["Insns", "RegisterMap", "Rule", "RuleBook", "choose", "common_keys"]

Rule = Sequence[tuple[Any, ...]]
"""Machine operations that an eBPF instruction becomes (see the native translator)."""


class Insns:
    """What of a function's instructions decides its prologue: the registers that they name."""

    def __init__(self, code: bytes) -> None:
        self._pairs = code[1::8].hex()

    def uses(self, register: int) -> bool:
        """Whether any instruction names the register."""
        return f"{register:x}" in self._pairs


def choose(
    predicate: str, value: Value | int, then: Rule, otherwise: Rule
) -> list[tuple[object, ...]]:
    """Items that emit `then` if the predicate holds for the value, else `otherwise`."""
    return [
        ("when", predicate, value, len(then) + 1),
        *then,
        ("skip", len(otherwise)),
        *otherwise,
    ]


class RegisterMap(dict[int, int]):
    """eBPF register number to machine register; an unknown one is `UnsupportedError`."""

    def __init__(self, arch: str, registers: Mapping[int, int]) -> None:
        super().__init__(registers)
        self._arch = arch

    def __missing__(self, number: int) -> int:
        raise UnsupportedError(f"{self._arch}: no machine register for eBPF register {number}")


class RuleBook(ABC):
    """The rules of one architecture and kernel; `rule` is what the translator asks.

    Operands are given as the translator gives them: registers by their eBPF number, offset and
    immediate only where the opcode's key holds them, else None.
    """

    arch: str

    def __init__(self, rules: JitRules, registers: RegisterMap) -> None:
        self._rules = rules
        self._offsets = rules.offsets
        self._registers = registers

    def rule(
        self,
        opcode: int,
        dst: int,
        src: int,
        offset: int | None,
        imm: int | None,
        flag: bool,
        shape: Any,
    ) -> Rule:
        """The machine operations of an eBPF instruction."""
        cls = opcode & 7
        if cls in (isa.ALU, isa.ALU64):
            return self.arithmetic(opcode, dst, src, offset, imm)
        if cls in (isa.JMP, isa.JMP32):
            return self.jump(opcode, dst, src, offset, imm, flag, shape)
        if opcode == isa.LD_IMM64:
            return self.load64(dst)
        return self.memory(opcode, dst, src, offset, imm)

    def unknown(self, opcode: int) -> UnsupportedError:
        """What to raise for an opcode that has no rule."""
        return UnsupportedError(f"{self.arch}: no rule for eBPF opcode {opcode:#04x}")

    def load64(self, dst: int) -> Rule:
        """A 64-bit immediate."""
        return [("movi", self._registers[dst], IMM64)]

    @abstractmethod
    def arithmetic(
        self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None
    ) -> Rule:
        """Arithmetic of both widths."""

    @abstractmethod
    def jump(
        self,
        opcode: int,
        dst: int,
        src: int,
        offset: int | None,
        imm: int | None,
        flag: bool,
        shape: Any,
    ) -> Rule:
        """Jumps, calls and exit."""

    @abstractmethod
    def memory(self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None) -> Rule:
        """Loads, stores and atomic operations."""


def common_keys() -> bytearray:
    """Keys by opcode of what decides rules on every architecture."""
    keys = bytearray(256)
    for cls in (isa.ALU, isa.ALU64):
        for op in (isa.LSH, isa.RSH, isa.ARSH, isa.END):
            keys[cls | op] = keys[cls | op | isa.X] = KEY_IMM
        keys[cls | isa.MOV | isa.X] = KEY_OFFSET | KEY_IMM
        for op in (isa.DIV, isa.MOD):
            keys[cls | op] = keys[cls | op | isa.X] = KEY_OFFSET
    keys[isa.LD_IMM64] = TWO_RECORDS
    return keys
