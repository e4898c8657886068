"""Where a function's argument slots travel: registers, then the stack."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.spec import Arch, Prototype

__all__ = ["ARGUMENT_REGISTERS", "Location", "locate_arguments"]

ARGUMENT_REGISTERS = {
    Arch.X86_64: ("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    Arch.ARM64: tuple(f"x{number}" for number in range(8)),
}
"""Registers of integer arguments, in order (System V psABI 3.2.3, AAPCS64 6.8.2)."""


@dataclass(frozen=True, slots=True)
class Location:
    """Place of one 8-byte slot: a register, or (`register` empty) an offset on the stack.

    `stack` counts bytes from the first stack argument of the caller.
    """

    register: str = ""
    stack: int = 0


def locate_arguments(arch: Arch, prototype: Prototype) -> tuple[Location, ...]:
    """The location of every slot, in the order of the program's context.

    A value that does not fit into the remaining registers goes to the stack whole. On arm64
    everything after it does too; on x86_64 later values still use free registers.
    """
    registers = list(ARGUMENT_REGISTERS[arch])
    locations: list[Location] = []
    offset = 0
    for argument in prototype.arguments:
        slots = argument.slots
        if slots <= len(registers):
            locations += [Location(registers.pop(0)) for _ in range(slots)]
            continue
        if arch is Arch.ARM64:
            registers.clear()
        locations += [Location(stack=offset + 8 * index) for index in range(slots)]
        offset += 8 * slots
    return tuple(locations)
