"""Rules of the calling convention, checked on register snapshots of an execution.

x86_64 kernels keep the stack 8-byte aligned (they are built with an 8-byte preferred stack
boundary); arm64 requires 16 at every access through sp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.kernel.prototype import Passing
from tramposim.machine.caller import CALLEE_SAVED, CallingLoop
from tramposim.spec import Arch

__all__ = [
    "ARGUMENT_REGISTERS",
    "STACK_POINTER",
    "Snapshots",
    "Violation",
    "check_arguments",
    "check_loop",
]

ARGUMENT_REGISTERS = {
    Arch.X86_64: ("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    Arch.ARM64: tuple(f"x{number}" for number in range(8)),
}
"""Registers of integer arguments, in order (System V psABI 3.2.3, AAPCS64 6.8.2)."""

STACK_POINTER = {Arch.X86_64: "rsp", Arch.ARM64: "sp"}
_ALIGNMENT = {Arch.X86_64: 8, Arch.ARM64: 16}


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: its name, where (address), in which call, and what was found."""

    rule: str
    address: int
    call: int
    detail: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.address:#x} in call {self.call}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Register snapshots: `rows[i]` is (instruction index, address, registers ...)."""

    rows: NDArray[np.uint64]
    columns: Mapping[str, int]

    @classmethod
    def of(cls, buffer: memoryview, names: Sequence[str]) -> Snapshots:
        """From the engine's native array; `names` are its registers in order."""
        rows = np.frombuffer(buffer, np.uint64).reshape(-1, len(names) + 2)
        return cls(rows, {name: index + 2 for index, name in enumerate(names)})

    def at(self, address: int) -> NDArray[np.uint64]:
        """Rows taken at one address, in order of execution."""
        taken: NDArray[np.uint64] = self.rows[self.rows[:, 1] == np.uint64(address)]
        return taken

    def values(self, rows: NDArray[np.uint64], register: str) -> NDArray[np.uint64]:
        """One register's values in some rows."""
        return rows[:, self.columns[register]]


def check_loop(arch: Arch, loop: CallingLoop, snapshots: Snapshots) -> tuple[Violation, ...]:
    """Compare the state after each call of the loop with the state before it."""
    return tuple(_check_loop(arch, loop, snapshots))


def _check_loop(arch: Arch, loop: CallingLoop, snapshots: Snapshots) -> Iterator[Violation]:
    before, after = snapshots.at(loop.begin), snapshots.at(loop.returned)
    if len(before) != len(after):
        yield Violation(
            "every call returns once", loop.returned, len(after),
            f"{len(before)} calls, {len(after)} returns",
        )  # fmt: skip
    count = min(len(before), len(after))
    pointer = STACK_POINTER[arch]
    for register in (*CALLEE_SAVED[arch], pointer):
        was = snapshots.values(before[:count], register)
        now = snapshots.values(after[:count], register)
        rule = "stack pointer balanced" if register == pointer else "callee-saved preserved"
        for call in np.flatnonzero(was != now)[:1]:
            yield Violation(
                rule, loop.returned, int(call),
                f"{register} is {int(now[call]):#x}, was {int(was[call]):#x}",
            )  # fmt: skip
    for row in snapshots.rows:
        value = int(row[snapshots.columns[pointer]])
        if value % _ALIGNMENT[arch]:
            yield Violation(
                "stack pointer aligned", int(row[1]), 0,
                f"{pointer} is {value:#x}, not a multiple of {_ALIGNMENT[arch]}",
            )  # fmt: skip
            return


def check_arguments(
    arch: Arch, body: int, arguments: Sequence[tuple[Passing, int]], snapshots: Snapshots
) -> tuple[Violation, ...]:
    """Whether the function's body, at `body`, always got its arguments.

    Checks those in registers, as many bytes as belong to the value; on x86_64 also that the
    stack is aligned as the caller of a function with stack arguments aligns it.
    """
    return tuple(_check_arguments(arch, body, arguments, snapshots))


def _check_arguments(
    arch: Arch, body: int, arguments: Sequence[tuple[Passing, int]], snapshots: Snapshots
) -> Iterator[Violation]:
    rows = snapshots.at(body)
    for place, value in arguments:
        if place.register is None:
            continue
        register = ARGUMENT_REGISTERS[arch][place.register]
        mask = np.uint64((1 << 8 * place.used) - 1)
        got = snapshots.values(rows, register) & mask
        for call in np.flatnonzero(got != np.uint64(value) & mask)[:1]:
            yield Violation(
                "arguments delivered", body, int(call),
                f"{register} is {int(got[call]):#x}, not {int(np.uint64(value) & mask):#x}",
            )  # fmt: skip
    if arch is Arch.X86_64 and any(place.stack is not None for place, _ in arguments):
        pointers = snapshots.values(rows, "rsp")
        for call in np.flatnonzero(pointers % np.uint64(16) != 8)[:1]:
            yield Violation(
                "stack aligned for stack arguments", body, int(call),
                f"rsp is {int(pointers[call]):#x} behind the return address",
            )  # fmt: skip
