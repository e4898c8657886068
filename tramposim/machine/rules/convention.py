"""The calling conventions of the two kernels, as the probe and the rules use them."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.spec import Arch

__all__ = ["CONVENTIONS", "Convention"]


@dataclass(frozen=True, slots=True)
class Convention:
    """Register roles: `frame` is the frame pointer, `link` the return address (or "").

    `volatile` are the registers that a called function may change, besides the flags.
    `alignment` is what the stack pointer is a multiple of at calls, in bytes.
    """

    arguments: tuple[str, ...]
    result: str
    saved: tuple[str, ...]
    volatile: tuple[str, ...]
    stack: str
    frame: str
    link: str
    pc: str
    flags: str
    alignment: int


CONVENTIONS = {
    # System V psABI 3.2; kernels are built with an 8-byte preferred stack boundary.
    Arch.X86_64: Convention(
        arguments=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
        result="rax",
        saved=("rbx", "rbp", "r12", "r13", "r14", "r15"),
        volatile=("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"),
        stack="rsp",
        frame="rbp",
        link="",
        pc="rip",
        flags="rflags",
        alignment=8,
    ),
    # AAPCS64 6; x18 is the platform register, which kernel code leaves alone.
    Arch.ARM64: Convention(
        arguments=tuple(f"x{number}" for number in range(8)),
        result="x0",
        saved=tuple(f"x{number}" for number in range(18, 30)),
        volatile=(*(f"x{number}" for number in range(18)), "x30"),
        stack="sp",
        frame="x29",
        link="x30",
        pc="pc",
        flags="nzcv",
        alignment=16,
    ),
}
"""Conventions by architecture."""
