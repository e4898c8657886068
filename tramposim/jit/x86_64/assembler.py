"""x86_64 operations by name, over the native encoder."""

from __future__ import annotations

from tramposim.jit.assembler import Assembler, Operand, Target

__all__ = [
    "CC_E", "CC_NE", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
    "RAX", "RBP", "RBX", "RCX", "RDI", "RDX", "RSI", "RSP", "X86Assembler",
]  # fmt: skip

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 = range(16)
CC_E, CC_NE = 4, 5


class X86Assembler(Assembler):
    """What trampolines need; memory operands are (base, displacement)."""

    def push(self, reg: int) -> None:
        self.op("push", reg)

    def mov(self, to: int, source: int) -> None:
        self.op("mov", to, source)

    def mov_imm(self, to: int, value: Operand) -> None:
        """A 64-bit constant in its shortest form."""
        self.op("movi", to, value)

    def load(self, to: int, base: int, displacement: int) -> None:
        self.op("load64", to, base, displacement)

    def load_wide(self, to: int, base: int, displacement: int) -> None:
        """With a 32-bit displacement, whatever its value."""
        self.op("load64_wide", to, base, displacement)

    def store(self, base: int, displacement: int, source: int) -> None:
        self.op("store64", base, displacement, source)

    def store_imm32(self, base: int, displacement: int, value: int) -> None:
        """Four bytes."""
        self.op("storei32", base, displacement, value)

    def lea(self, to: int, base: int, displacement: int) -> None:
        self.op("lea", to, base, displacement)

    def add_imm(self, to: int, value: int) -> None:
        self.op("addi", to, value)

    def sub_imm(self, to: int, value: int) -> None:
        self.op("subi", to, value)

    def test(self, left: int, right: int) -> None:
        self.op("test", left, right)

    def cmp_mem_imm8(self, base: int, displacement: int, value: int) -> None:
        """Eight bytes of memory against a sign-extended byte."""
        self.op("cmp_mem_imm8", base, displacement, value)

    def call(self, target: Target) -> None:
        self.op("call", target)

    def jmp(self, target: Target) -> None:
        """With a 32-bit distance."""
        self.op("jmp", target)

    def jcc(self, condition: int, target: Target) -> None:
        """With a 32-bit distance."""
        self.op("jcc", condition, target)

    def jcc_short(self, condition: int, target: Target) -> None:
        """With an 8-bit distance."""
        self.op("jcc_short", condition, target)

    def account_call(self, call_depth: Operand) -> None:
        """Call-depth accounting: sarq $5, %gs:__x86_call_depth(%rip)."""
        self.op("sar_gs_rip", call_depth, 5)

    def nop(self, size: int) -> None:
        self.op("nop", size)

    def endbr64(self) -> None:
        self.op("endbr64")

    def leave(self) -> None:
        self.op("leave")

    def ret(self) -> None:
        self.op("ret")

    def int3(self) -> None:
        self.op("int3")
