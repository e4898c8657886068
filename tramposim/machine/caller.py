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
from tramposim.kernel.prototype import Passing
from tramposim.machine.addresses import STACK_SIZE
from tramposim.machine.machine import Machine
from tramposim.spec import Arch

__all__ = [
    "CALLEE_SAVED",
    "COUNTER",
    "X86_64_ARGUMENTS",
    "CallingLoop",
    "build_loop",
    "build_sequence",
    "new_stack",
    "prepare_stack",
]

CALLEE_SAVED = {
    Arch.X86_64: ("rbx", "rbp", "r12", "r13", "r14", "r15"),
    Arch.ARM64: tuple(f"x{number}" for number in range(19, 30)),
}
"""Registers that a called function preserves (besides the stack pointer)."""

COUNTER = {Arch.X86_64: "r15", Arch.ARM64: "x28"}
"""Register that holds the remaining calls."""

X86_64_ARGUMENTS = (7, 6, 2, 1, 8, 9)
"""Encodings of rdi, rsi, rdx, rcx, r8, r9 (System V psABI 3.2.3)."""
_DEC_R15 = bytes.fromhex("49ffcf")
_NOT_ZERO = {Arch.X86_64: 5, Arch.ARM64: 1}
_ALIGN = 64
_X16 = 16
"""Scratch register of calls out of branch range (ip0 of AAPCS64)."""
_OUTER_FRAMES = 256
_SENTINEL = 0x5AFE0000


@dataclass(frozen=True, slots=True)
class CallingLoop:
    """Addresses of a loop: first instruction, the one after the call, and behind the loop."""

    begin: int
    returned: int
    end: int


def build_loop(
    machine: Machine, function: int, arguments: Sequence[tuple[Passing, int]]
) -> CallingLoop:
    """Place a loop that calls `function` with these slot values (64-bit each).

    Those on the stack are put there by `prepare_stack`.
    """
    loads = [(p.register, value) for p, value in arguments if p.register is not None]
    return build_sequence(machine, [(function, loads)])


def build_sequence(
    machine: Machine, calls: Sequence[tuple[int, Sequence[tuple[int, int]]]]
) -> CallingLoop:
    """Place a loop that calls functions one after the other.

    A call is a function and its arguments: (number of the argument register, value) each.
    """
    size = 64 + sum(32 + 16 * len(loads) for _, loads in calls)
    address = machine.allocate(machine.addresses.driver, size, _ALIGN)
    emit = _x86_64 if machine.arch is Arch.X86_64 else _arm64
    code, returned = emit(address, calls)
    machine.place(address, code, machine.addresses.driver.permissions, "calling loop")
    machine.add_symbols({"calling_loop": address})
    return CallingLoop(address, address + returned, address + len(code))


_Calls = Sequence[tuple[int, Sequence[tuple[int, int]]]]


def _x86_64(address: int, calls: _Calls) -> tuple[bytes, int]:
    encode = x86_64_asm.ISA.encode_one
    code = b""
    for function, loads in calls:
        for register, value in loads:
            wide = "mov32_imm32" if 0 <= value < 1 << 32 else "movabs"
            code += encode(wide, X86_64_ARGUMENTS[register], value)
        code += encode("call", function, address=address + len(code))
    returned = len(code)
    code += _DEC_R15
    name = "jcc_short" if len(code) < 120 else "jcc"
    code += encode(name, _NOT_ZERO[Arch.X86_64], address, address=address + len(code))
    return code, returned


def _arm64(address: int, calls: _Calls) -> tuple[bytes, int]:
    encode = arm64_asm.ISA.encode_one
    code = b""
    for function, loads in calls:
        for register, value in loads:
            code += encode("movi", register, value)
        code += encode("call", function, _X16, address=address + len(code))
    returned = len(code)
    code += encode("subsi", 28, 28, 1)
    code += encode("bcond", _NOT_ZERO[Arch.ARM64], address, address=address + len(code))
    return code, returned


def prepare_stack(machine: Machine, arguments: Sequence[tuple[Passing, int]], top: int) -> None:
    """Set up the kernel stack below `top` for calls with the values that go on it.

    Sets the stack and frame pointer and fills the other callee-saved registers with values
    that cannot arise by accident. At a call the stack pointer is a multiple of 16.
    """
    beyond = {p.stack: value for p, value in arguments if p.stack is not None}
    frame = top - 16 & ~15
    pointer = frame - 8 * (max(beyond, default=-1) + 1) & ~15
    for index, value in beyond.items():
        machine.write_int(pointer + 8 * index, value)
    engine = machine.engine
    for number, register in enumerate(CALLEE_SAVED[machine.arch]):
        engine.set_register(register, _SENTINEL << 16 | number)
    engine.set_register("rbp" if machine.arch is Arch.X86_64 else "x29", frame)
    engine.set_register("rsp" if machine.arch is Arch.X86_64 else "sp", pointer)


def new_stack(machine: Machine) -> int:
    """Top of a fresh kernel stack (where entry from user space left its registers above)."""
    base = machine.allocate(machine.addresses.stacks, STACK_SIZE)
    return base + STACK_SIZE - _OUTER_FRAMES
