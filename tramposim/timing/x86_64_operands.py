"""x86_64 operands: register numbers, flags of conditions, loads and stores of an instruction."""

from __future__ import annotations

from typing import Any

import capstone
from capstone import x86_const as x86

from tramposim.timing.instruction import unique, unknown
from tramposim.timing.uops import (
    FLAG_CARRY,
    FLAG_REST,
    TEMPORARY,
    Kind,
    UopFlag,
    UopSpec,
)

__all__ = [
    "CONDITIONS",
    "FLAGS",
    "NUMBERS",
    "RAX",
    "RBP",
    "RBX",
    "RCX",
    "RDI",
    "RDX",
    "RESULT",
    "RSI",
    "RSP",
    "SCRATCH",
    "SMALL_IMMEDIATE",
    "VALUE",
    "Operands",
    "flags_of",
]

FLAGS = (FLAG_CARRY, FLAG_REST)
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
VALUE = TEMPORARY  # loaded value
RESULT = TEMPORARY + 1  # value to be stored
SCRATCH = TEMPORARY + 2

_FAMILIES = (
    ("rax", "eax", "ax", "al", "ah"),
    ("rcx", "ecx", "cx", "cl", "ch"),
    ("rdx", "edx", "dx", "dl", "dh"),
    ("rbx", "ebx", "bx", "bl", "bh"),
    ("rsp", "esp", "sp", "spl"),
    ("rbp", "ebp", "bp", "bpl"),
    ("rsi", "esi", "si", "sil"),
    ("rdi", "edi", "di", "dil"),
    *((f"r{n}", f"r{n}d", f"r{n}w", f"r{n}b") for n in range(8, 16)),
)
NUMBERS = {name: number for number, names in enumerate(_FAMILIES) for name in names}

_HIGH_BYTES = ("ah", "bh", "ch", "dh")

_CARRY_CONDITIONS = ("b", "ae")
_BOTH_CONDITIONS = ("be", "a")
CONDITIONS = (
    "o",
    "no",
    "b",
    "ae",
    "e",
    "ne",
    "be",
    "a",
    "s",
    "ns",
    "p",
    "np",
    "l",
    "ge",
    "le",
    "g",
)
SMALL_IMMEDIATE = range(-1024, 1024)
"""Immediates that rename-time addition folds (Golden Cove)."""


def flags_of(condition: str) -> tuple[int, ...]:
    """Flag registers that a condition reads."""
    if condition in _CARRY_CONDITIONS:
        return (FLAG_CARRY,)
    return FLAGS if condition in _BOTH_CONDITIONS else (FLAG_REST,)


class Operands:
    """The operands of one instruction and the uops collected for it."""

    def __init__(self, insn: Any) -> None:
        self.insn = insn
        self.ops = insn.operands
        self.uops: list[UopSpec] = []
        self.memory: Any = next((op for op in self.ops if op.type == x86.X86_OP_MEM), None)
        self.indexed = bool(self.memory and self.memory.mem.index)
        self.offset: tuple[int, ...] = ()
        """Registers that the memory operand's address depends on besides its own."""

    def register(self, op: Any) -> int:
        """Number of a register operand; `UnsupportedError` unless it is a general one."""
        number = NUMBERS.get(self.insn.reg_name(op.reg))
        if number is None:
            raise unknown(self.insn)
        return number

    def address(self) -> tuple[int, ...]:
        """Registers of the memory operand's address (rip and segment bases are constants)."""
        mem = self.memory.mem
        names = [self.insn.reg_name(r) for r in (mem.base, mem.index) if r]
        return tuple(NUMBERS[name] for name in names if name in NUMBERS) + self.offset

    def load(self, result: int = VALUE, flags: UopFlag = UopFlag.NONE, name: str = "load") -> None:
        """A load from the memory operand (rip-relative ones are never renamed)."""
        if self.rip_relative():
            flags |= UopFlag.UNRENAMED
        self.uops.append(
            UopSpec(Kind.LOAD, name, self.address(), (result,), True, flags | self.stack_use())
        )

    def store(self, source: tuple[int, ...] = (RESULT,), data: str = "store_data") -> None:
        """A store to the memory operand: address and data in one slot."""
        use = self.stack_use() if not self.uops else UopFlag.NONE
        self.uops.append(
            UopSpec(Kind.STORE_ADDRESS, "store_address", self.address(), (), True, use)
        )
        self.uops.append(UopSpec(Kind.STORE_DATA, data, source, (), False))

    def execute(
        self,
        name: str,
        sources: tuple[int, ...],
        results: tuple[int, ...],
        flags: UopFlag = UopFlag.NONE,
        kind: Kind = Kind.EXEC,
    ) -> None:
        """An operation; it shares the slot of a load that feeds it."""
        fused = bool(self.uops) and self.uops[-1].kind == Kind.LOAD and kind == Kind.EXEC
        self.uops.append(UopSpec(kind, name, sources, results, not fused, flags | self.stack_use()))

    def modify(
        self, name: str, extra: tuple[int, ...], flags: tuple[int, ...], locked: bool
    ) -> None:
        """dst = dst op extra, where dst is operand 0 (register or memory)."""
        dst = self.ops[0]
        if dst.type == x86.X86_OP_MEM:
            if not any(u.kind == Kind.LOAD for u in self.uops):
                use = UopFlag.UNRENAMED if extra else UopFlag.NONE
                self.load(
                    flags=UopFlag.LOCKED if locked else use, name="lock" if locked else "load"
                )
            self.execute(name, (VALUE, *extra), (RESULT, *flags))
            self.store(data="store_result")
        else:
            register = self.register(dst)
            self.execute(name, unique((register, *extra)), (register, *flags))

    def stack_use(self) -> UopFlag:
        """READ_STACK if the instruction names rsp (the first uop carries it)."""
        if self.uops:
            return UopFlag.NONE
        named = [op.reg for op in self.ops if op.type == x86.X86_OP_REG]
        if self.memory:
            named += [self.memory.mem.base, self.memory.mem.index]
        if any(r and NUMBERS.get(self.insn.reg_name(r)) == RSP for r in named):
            return UopFlag.READ_STACK
        return UopFlag.NONE

    def rip_relative(self) -> bool:
        """Whether the memory operand's displacement counts from the instruction."""
        mem = self.memory.mem
        return bool(mem.base) and self.insn.reg_name(mem.base) == "rip"

    def high_byte(self) -> bool:
        """Whether an operand is bits 8 to 15 of a register."""
        return any(self._is_high(op) for op in self.ops)

    def writes_high_byte(self) -> bool:
        """Whether a result is bits 8 to 15 of a register."""
        return any(self._is_high(op) and op.access & capstone.CS_AC_WRITE for op in self.ops)

    def _is_high(self, op: Any) -> bool:
        return op.type == x86.X86_OP_REG and self.insn.reg_name(op.reg) in _HIGH_BYTES

    def source(self, op: Any) -> tuple[int, ...]:
        """Registers that reading `op` depends on (loads it first if it is memory)."""
        if op.type == x86.X86_OP_IMM:
            return ()
        if op.type == x86.X86_OP_MEM:
            if not any(u.kind == Kind.LOAD for u in self.uops):
                self.load()
            return (VALUE,)
        return (self.register(op),)
