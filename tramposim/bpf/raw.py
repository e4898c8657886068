"""Programs from raw instructions: bytes, or their hex text."""

from __future__ import annotations

from pathlib import PurePath

from tramposim.bpf.insn import decode
from tramposim.errors import InputError
from tramposim.spec import ProgKind, Program

__all__ = ["hex_program", "raw_program"]

MAX_INSNS = 1_000_000


def raw_program(content: bytes, where: str) -> Program:
    """A program of 8-byte instructions, of kind `socket`, called like its file.

    Raises `InputError` if the bytes are no whole number of instructions.
    """
    if not content:
        raise InputError("no instructions", where)
    if len(content) > 8 * MAX_INSNS:
        raise InputError(f"more than {MAX_INSNS:,} instructions", where)
    try:
        decode(content)
    except InputError as error:
        raise InputError(str(error), where) from None
    return Program(PurePath(where).name.split(".")[0], ProgKind.SOCKET, content)


def hex_program(text: str, where: str) -> Program:
    """The same from hex digits; blanks and line ends between bytes are skipped."""
    try:
        content = bytes.fromhex(text)
    except ValueError as error:
        raise InputError(f"not hex digits: {error}", where) from None
    return raw_program(content, where)
