"""One instruction at a time from the disassembler, and the error for one without timing."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import capstone

from tramposim.errors import UnsupportedError

__all__ = ["first_instruction", "text", "unique", "unknown"]


@cache
def _engine(arch: int, mode: int) -> Any:
    engine: Any = capstone.Cs(arch, mode)  # type: ignore[no-untyped-call]
    engine.detail = True
    return engine


@cache
def _register_name(arch: int, mode: int, register: int) -> str:
    name: str = _engine(arch, mode).reg_name(register)
    return name


def first_instruction(arch: int, mode: int, code: bytes, address: int) -> Any:
    """Capstone's view of the first instruction of `code`, which lies at `address`.

    Raises `UnsupportedError` for bytes that are not an instruction.
    """
    insn = next(_engine(arch, mode).disasm(code, address, 1), None)
    if insn is None:
        raise UnsupportedError(f"not an instruction: {code[:8].hex()} at {address:#x}")
    # Capstone would ask its library for every name again.
    insn.reg_name = partial(_register_name, arch, mode)
    return insn


def text(insn: Any) -> str:
    """Mnemonic and operands."""
    return f"{insn.mnemonic} {insn.op_str}".rstrip()


def unknown(insn: Any) -> UnsupportedError:
    """The error for an instruction without timing: its text, bytes and address."""
    return UnsupportedError(
        f"no timing for the instruction '{text(insn)}' "
        f"({bytes(insn.bytes).hex()}) at {insn.address:#x}"
    )


def unique(registers: tuple[int, ...]) -> tuple[int, ...]:
    """`registers` without repetitions, in order."""
    return tuple(dict.fromkeys(registers))
