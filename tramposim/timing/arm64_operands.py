"""arm64 operands: register numbers, branch conditions, loads and stores of an instruction."""

from __future__ import annotations

from typing import Any

from capstone import arm64_const as arm

from tramposim.timing.instruction import unique, unknown
from tramposim.timing.uops import FLAG_REST, TEMPORARY, Kind, UopFlag, UopSpec

__all__ = ["CONDITIONS", "FLAGS", "LINK", "NUMBERS", "RESULT", "SP", "VALUE", "Operands"]

FLAGS = FLAG_REST
LINK, SP = 30, 31
VALUE = TEMPORARY  # loaded value
RESULT = TEMPORARY + 1  # value to be stored
NUMBERS = {
    **{f"{letter}{n}": n for letter in "xw" for n in range(31)},
    "fp": 29,
    "lr": LINK,
    "sp": SP,
    "wsp": SP,
}
_ZERO = ("xzr", "wzr")
CONDITIONS = (
    "eq",
    "ne",
    "hs",
    "lo",
    "mi",
    "pl",
    "vs",
    "vc",
    "hi",
    "ls",
    "ge",
    "lt",
    "gt",
    "le",
    "al",
    "nv",
    "cs",
    "cc",
)


class Operands:
    """The operands of one instruction and the uops collected for it."""

    def __init__(self, insn: Any) -> None:
        self.insn = insn
        self.ops = insn.operands
        self.uops: list[UopSpec] = []
        self.memory: Any = next((op for op in self.ops if op.type == arm.ARM64_OP_MEM), None)
        self.orders_loads = False
        self.conditional = insn.mnemonic.startswith("b.")

    def registers(self, op: Any) -> tuple[int, ...]:
        """Number of a register operand as a tuple (empty for the zero register or no register)."""
        if op.type != arm.ARM64_OP_REG:
            return ()
        name = self.insn.reg_name(op.reg)
        if name in _ZERO:
            return ()
        if name not in NUMBERS:
            raise unknown(self.insn)
        return (NUMBERS[name],)

    def sources(self, start: int) -> tuple[int, ...]:
        """Registers of the operands from `start` on."""
        return unique(tuple(r for op in self.ops[start:] for r in self.registers(op)))

    def wide(self) -> bool:
        """Whether the first operand is a 64-bit register."""
        return str(self.insn.reg_name(self.ops[0].reg)).startswith(("x", "sp", "fp", "lr"))

    def address(self) -> tuple[int, ...]:
        """Registers of the memory operand's address."""
        mem = self.memory.mem
        names = [self.insn.reg_name(r) for r in (mem.base, mem.index) if r]
        return tuple(NUMBERS[n] for n in names if n in NUMBERS)

    def execute(
        self,
        name: str,
        sources: tuple[int, ...],
        results: tuple[int, ...],
        flags: UopFlag = UopFlag.NONE,
        kind: Kind = Kind.EXEC,
    ) -> None:
        """An operation with a slot of its own."""
        self.uops.append(UopSpec(kind, name, sources, results, True, flags))

    def load(self, result: tuple[int, ...], name: str = "load") -> None:
        """A load from the memory operand (a literal if there is none)."""
        address = self.address() if self.memory else ()
        self.uops.append(UopSpec(Kind.LOAD, name, address, result))

    def store(self, source: tuple[int, ...], name: str = "store_address") -> None:
        """A store to the memory operand: address and data in one slot."""
        self.uops.append(UopSpec(Kind.STORE_ADDRESS, name, self.address()))
        self.uops.append(UopSpec(Kind.STORE_DATA, "store_data", source, (), False))

    def write_back(self) -> None:
        """The base register's update of pre- and post-indexed forms."""
        if self.memory and self.insn.writeback:
            base = self.address()[:1]
            self.execute("alu_address", base, base)
