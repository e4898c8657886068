"""Operands of the kernel's text syntax: registers, numbers, jump targets, addresses."""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.bpf.syntax import Cursor, Token

__all__ = [
    "access_type",
    "address",
    "address_space",
    "distance",
    "imm32",
    "is_register",
    "offset16",
    "register",
    "target",
    "typed_address",
]

_SIZE_BITS = {"8": isa.B, "16": isa.H, "32": isa.W, "64": isa.DW}


def register(at: Cursor) -> tuple[int, bool]:
    """A register: its number and whether it was written as a 64-bit one."""
    token = at.word("a register")
    digits = token.text[1:]
    if token.text[0] not in "rw" or not digits.isdigit():
        at.fail(f"expected a register, found {token.text!r}", token)
    number = int(digits)
    if number > isa.Reg.AX:
        at.fail(f"there is no register {token.text}; r0 to r10 exist", token)
    return number, token.text[0] == "r"


def is_register(token: Token) -> bool:
    """Whether this names a register."""
    return token.kind == "word" and token.text[0] in "rw" and token.text[1:].isdigit()


def imm32(at: Cursor) -> int:
    """A number for the immediate: signed, or unsigned 32 bits as dumps print it."""
    token = at.token
    value = at.integer("a register or number")
    if not -(1 << 31) <= value < 1 << 32:
        at.fail(f"{value} does not fit the 32-bit immediate; load it with `ll`", token)
    return value - (1 << 32) if value >= 1 << 31 else value


def distance(at: Cursor) -> int:
    """A relative target, which an instruction holds as a signed 32-bit number."""
    token = at.token
    value = at.integer("a relative target")
    if not -(1 << 31) <= value < 1 << 31:
        at.fail(f"{value} does not fit 32 bits", token)
    return value


def offset16(at: Cursor, value: int, token: Token) -> int:
    """`value`, written at `token`, if it fits an offset."""
    if not -(1 << 15) <= value < 1 << 15:
        at.fail(f"offset {value} does not fit 16 bits", token)
    return value


def target(at: Cursor) -> int | str:
    """Where a jump goes: a distance or a label."""
    if at.token.text == "pc" or at.token.kind in ("number", "op"):
        at.accept("pc")
        return distance(at)
    return at.word("a label").text


def address(at: Cursor) -> tuple[int, int]:
    """`rN [+-] OFFSET`: base register and offset."""
    base, _ = register(at)
    token = at.token
    offset = at.integer("an offset") if token.text in ("+", "-") else 0
    return base, offset16(at, offset, token)


def access_type(at: Cursor) -> tuple[int, bool, str]:
    """`(uN *)`: size bits, whether it is signed, and `probe` or `arena` if it says so."""
    at.expect("(")
    token = at.word("an access type such as u64")
    if token.text[0] not in "us" or token.text[1:] not in _SIZE_BITS:
        at.fail(f"expected an access type such as u64, found {token.text!r}", token)
    at.expect("*")
    kind = at.take().text if at.token.text in ("probe", "arena") else ""
    at.expect(")")
    return _SIZE_BITS[token.text[1:]], token.text[0] == "s", kind


def typed_address(at: Cursor) -> tuple[int, int, int, bool]:
    """`(uN *)(rN + OFFSET)`: size bits, base register, offset, whether in the arena."""
    size, _, kind = access_type(at)
    at.expect("(")
    base, offset = address(at)
    at.expect(")")
    return size, base, offset, kind == "arena"


def address_space(at: Cursor) -> int:
    """The number of an address space."""
    token = at.token
    value = at.integer("an address space")
    if not 0 <= value < 1 << 16:
        at.fail(f"address space {value} does not fit 16 bits", token)
    return value
