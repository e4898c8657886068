"""Code decoded once: which instruction lies where, and what kind of branch it is."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from tramposim.machine.disassembly import Instruction, disassemble
from tramposim.spec import Arch

__all__ = ["Flow", "Listing"]


class Flow(Enum):
    """How an instruction leaves the straight line."""

    NONE = "none"
    CONDITIONAL = "conditional"
    JUMP = "jump"
    CALL = "call"
    RETURN = "return"


_ARM64_CONDITIONAL = ("cbz", "cbnz", "tbz", "tbnz")
_INDIRECT = ("br", "blr", "ret", "retaa", "retab", "braa", "blraa")


class Listing:
    """The instructions of code at an address, or of several pieces (address, code)."""

    def __init__(self, arch: Arch, *chunks: tuple[int, bytes]) -> None:
        self.arch = arch
        self.chunks = tuple(sorted(chunks))
        self.address = chunks[0][0] if chunks else 0
        self.code = chunks[0][1] if chunks else b""
        self.instructions = tuple(
            instruction
            for address, code in self.chunks
            for instruction in disassemble(arch, code, address)
        )
        self.at = {instruction.address: instruction for instruction in self.instructions}

    def __contains__(self, address: int) -> bool:
        return any(start <= address < start + len(code) for start, code in self.chunks)

    def text(self, address: int) -> str:
        """The instruction at an address as text, empty if none begins there."""
        instruction = self.at.get(address)
        return f"{instruction.mnemonic} {instruction.operands}".strip() if instruction else ""

    def flow(self, address: int) -> Flow:
        """How the instruction at an address leaves the straight line."""
        instruction = self.at.get(address)
        return flow_of(self.arch, instruction) if instruction else Flow.NONE

    def inner_calls(self) -> Iterator[tuple[int, int]]:
        """(instruction, target) of the direct calls that stay in this code."""
        for instruction in self.instructions:
            if flow_of(self.arch, instruction) is Flow.CALL:
                try:
                    target = int(instruction.operands.lstrip("#"), 16)
                except ValueError:
                    continue
                if target in self:
                    yield instruction.address, target

    def indirect(self, address: int) -> bool:
        """Whether the branch at an address takes its target from a register or memory."""
        instruction = self.at.get(address)
        if instruction is None:
            return False
        if self.arch is Arch.ARM64:
            return instruction.mnemonic in _INDIRECT
        if flow_of(self.arch, instruction) is Flow.RETURN:
            return True
        return not instruction.operands.startswith("0x")


def flow_of(arch: Arch, instruction: Instruction) -> Flow:
    """How an instruction leaves the straight line."""
    mnemonic = instruction.mnemonic
    if arch is Arch.X86_64:
        word = mnemonic.split()[-1]
        if word.startswith("call"):
            return Flow.CALL
        if word.startswith("ret"):
            return Flow.RETURN
        if word == "jmp":
            return Flow.JUMP
        return Flow.CONDITIONAL if word.startswith(("j", "loop")) else Flow.NONE
    if mnemonic.startswith("bl"):
        return Flow.CALL
    if mnemonic.startswith("ret"):
        return Flow.RETURN
    if mnemonic in ("b", "br") or mnemonic.startswith("bra"):
        return Flow.JUMP
    if mnemonic.startswith("b.") or mnemonic in _ARM64_CONDITIONAL:
        return Flow.CONDITIONAL
    return Flow.NONE
