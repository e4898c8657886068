"""arm64 operations by name, over the native encoder."""

from __future__ import annotations

from tramposim.jit.assembler import Assembler, Operand, Target

__all__ = ["FP", "LR", "SP", "XZR", "Arm64Assembler"]

FP, LR = 29, 30
SP = XZR = 31


class Arm64Assembler(Assembler):
    """What trampolines need; registers are numbers, memory operands (base, offset).

    `add_moves` writes register moves as `add rd, rn, #0`, as older kernels do.
    """

    add_moves = False

    def mov(self, to: int, source: int) -> None:
        if self.add_moves or SP in (to, source):
            self.op("addi", to, source, 0)
        else:
            self.op("mov", to, source)

    def movz(self, to: int, value: int) -> None:
        """64-bit form, value below 65536."""
        self.op("movz", to, value, 0)

    def mov_imm(self, to: int, value: Operand) -> None:
        """A constant in as few instructions as it takes."""
        self.op("movi", to, value)

    def mov_address(self, to: int, address: Operand) -> None:
        """A kernel address, always in three instructions."""
        self.op("mov_addr", to, address)

    def ldr(self, to: int, base: int, offset: int) -> None:
        self.op("ldr", to, base, offset)

    def str(self, source: int, base: int, offset: int) -> None:
        self.op("str", source, base, offset)

    def store_imm(self, value: Operand, scratch: int, base: int, offset: int) -> None:
        """A 64-bit constant through a scratch register; xzr if it is zero."""
        self.op("store_imm", value, scratch, base, offset)

    def push_pair(self, first: int, second: int) -> None:
        self.op("stp_pre", first, second, SP, -16)

    def pop_pair(self, first: int, second: int) -> None:
        self.op("ldp_post", first, second, SP, 16)

    def add_imm(self, to: int, source: int, value: int) -> None:
        self.op("addi", to, source, value)

    def sub_imm(self, to: int, source: int, value: int) -> None:
        self.op("subi", to, source, value)

    def clear_upper(self, reg: int, kept: int) -> None:
        """Zero all but the lowest `kept` bytes by shifting up and down."""
        bits = 64 - 8 * kept
        self.op("ubfm", reg, reg, 64 - bits, 63 - bits)
        self.op("ubfm", reg, reg, bits, 63)

    def adr(self, to: int, target: Target) -> None:
        self.op("adr", to, target)

    def call(self, target: Target) -> None:
        """`bl`, or through x10 when the target is out of its range."""
        self.op("call", target, 10)

    def cbz(self, reg: int, target: Target) -> None:
        self.op("cbz", reg, target)

    def cbnz(self, reg: int, target: Target) -> None:
        self.op("cbnz", reg, target)

    def ret(self, reg: int = LR) -> None:
        self.op("ret", reg)

    def nop(self) -> None:
        self.op("nop")

    def bti_jc(self) -> None:
        self.op("bti_jc")
