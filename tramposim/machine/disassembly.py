"""Machine code as text, decoded by capstone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tramposim.spec import Arch

__all__ = ["Instruction", "disassemble"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One machine instruction; bytes that are none appear as `.byte` (x86_64) or `.inst`."""

    address: int
    code: bytes
    mnemonic: str
    operands: str


def disassemble(
    arch: Arch, code: bytes, address: int, *, att: bool = False
) -> Iterator[Instruction]:
    """The instructions of `code`, which lies at `address`, all bytes of it, in order.

    `att` writes x86_64 in AT&T syntax.
    """
    decoder = _decoder(arch, att and arch is Arch.X86_64)
    offset = 0
    while offset < len(code):
        for at, size, mnemonic, operands in decoder.disasm_lite(code[offset:], address + offset):
            yield Instruction(at, code[offset : offset + size], mnemonic, operands)
            offset += size
        if offset < len(code):
            undecoded = code[offset : offset + (1 if arch is Arch.X86_64 else 4)]
            word = ".byte" if arch is Arch.X86_64 else ".inst"
            value = int.from_bytes(undecoded, "little")
            yield Instruction(address + offset, undecoded, word, f"{value:#x}")
            offset += len(undecoded)


@cache
def _decoder(arch: Arch, att: bool) -> Any:
    import capstone

    modes = {
        Arch.X86_64: (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        Arch.ARM64: (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
    }
    decoder = capstone.Cs(*modes[arch])  # type: ignore[no-untyped-call]
    if att:
        decoder.syntax = capstone.CS_OPT_SYNTAX_ATT
    return decoder
