"""The calling loop: guest code that loads arguments, calls a function and repeats.

It is the loop in which hardware was measured: aligned to 64 bytes, every iteration loads the
argument registers from immediates, calls, counts down a callee-saved register and branches
back. Arguments beyond the registers lie on the stack where the ABI wants them; the called
function leaves them in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tramposim._native import arm64_asm, x86_64_asm
from tramposim.errors import InputError
from tramposim.machine.addresses import STACK_SIZE
from tramposim.machine.arguments import Location
from tramposim.machine.machine import Machine
from tramposim.spec import Arch

__all__ = ["CALLEE_SAVED", "CallingLoop", "build_loop", "prepare_stack"]

CALLEE_SAVED = {
    Arch.X86_64: ("rbx", "rbp", "r12", "r13", "r14", "r15"),
    Arch.ARM64: tuple(f"x{number}" for number in range(19, 30)),
}
"""Registers that a called function preserves (besides the stack pointer)."""

COUNTER = {Arch.X86_64: "r15", Arch.ARM64: "x28"}
"""Register that holds the remaining calls."""

_X86_64_NUMBERS = {"rdi": 7, "rsi": 6, "rdx": 2, "rcx": 1, "r8": 8, "r9": 9}
_DEC_R15 = bytes.fromhex("49ffcf")
_NOT_ZERO = {Arch.X86_64: 5, Arch.ARM64: 1}
_ALIGN = 64
_OUTER_FRAMES = 256
_SENTINEL = 0x5AFE0000


@dataclass(frozen=True, slots=True)
class CallingLoop:
    """Addresses of a loop: first instruction, the one after the call, and behind the loop."""

    begin: int
    returned: int
    end: int


def build_loop(
    machine: Machine, function: int, arguments: Sequence[tuple[Location, int]]
) -> CallingLoop:
    """Place a loop that calls `function` with these slot values (64-bit each).

    Those on the stack are put there by `prepare_stack`.
    """
    loads = [(place.register, value) for place, value in arguments if place.register]
    size = 64 + 16 * len(loads)
    address = machine.allocate(machine.addresses.driver, size, _ALIGN)
    emit = _x86_64 if machine.arch is Arch.X86_64 else _arm64
    code, returned = emit(address, function, loads)
    machine.place(address, code, machine.addresses.driver.permissions, "calling loop")
    machine.add_symbols({"calling_loop": address})
    return CallingLoop(address, address + returned, address + len(code))


def _x86_64(address: int, function: int, loads: list[tuple[str, int]]) -> tuple[bytes, int]:
    encode = x86_64_asm.ISA.encode_one
    code = b""
    for register, value in loads:
        wide = "mov32_imm32" if 0 <= value < 1 << 32 else "movabs"
        code += encode(wide, _X86_64_NUMBERS[register], value)
    code += encode("call", function, address=address + len(code))
    returned = len(code)
    code += _DEC_R15
    code += encode("jcc_short", _NOT_ZERO[Arch.X86_64], address, address=address + len(code))
    return code, returned


def _arm64(address: int, function: int, loads: list[tuple[str, int]]) -> tuple[bytes, int]:
    encode = arm64_asm.ISA.encode_one
    code = b""
    for register, value in loads:
        code += encode("movi", int(register[1:]), value)
    code += encode("bl", function, address=address + len(code))
    returned = len(code)
    code += encode("subsi", 28, 28, 1)
    code += encode("bcond", _NOT_ZERO[Arch.ARM64], address, address=address + len(code))
    return code, returned


def prepare_stack(machine: Machine, arguments: Sequence[tuple[Location, int]]) -> int:
    """A fresh kernel stack with the values that go on it; returns its base.

    Sets the stack and frame pointer and fills the other callee-saved registers with values
    that cannot arise by accident. At a call the stack pointer is a multiple of 16.
    """
    beyond = {place.stack: value for place, value in arguments if not place.register}
    size = max(beyond, default=-8) + 8
    if size > STACK_SIZE // 4:
        raise InputError(f"{size} bytes of stack arguments")
    base = machine.allocate(machine.addresses.stacks, STACK_SIZE)
    frame = base + STACK_SIZE - _OUTER_FRAMES
    top = (frame - size) & ~15
    for offset, value in beyond.items():
        machine.write_int(top + offset, value)
    engine = machine.engine
    for number, register in enumerate(CALLEE_SAVED[machine.arch]):
        engine.set_register(register, _SENTINEL << 16 | number)
    engine.set_register("rbp" if machine.arch is Arch.X86_64 else "x29", frame)
    engine.set_register("rsp" if machine.arch is Arch.X86_64 else "sp", top)
    return base
