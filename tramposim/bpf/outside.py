"""What a program as the JIT gets it runs in: kernel and CPU, memory, callees; how it may end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tramposim.bpf.alu import M64
from tramposim.bpf.insn import Reg

__all__ = ["OutOfBudget", "Outside", "State", "TailCalled", "Target", "Thrown"]


class OutOfBudget(Exception):
    """More instructions were executed than allowed."""


class Thrown(Exception):
    """The program called what does not return (bpf_throw)."""


class TailCalled(Exception):
    """The program ended in a tail call to code at `target`, with the context `context`."""

    def __init__(self, target: int, context: int) -> None:
        super().__init__(hex(target))
        self.target = target
        self.context = context


@dataclass(slots=True)
class State:
    """Registers r0 to r15, and which of them hold a value that the program may read."""

    registers: list[int] = field(default_factory=lambda: [0] * 16)
    defined: set[int] = field(default_factory=set)

    def set(self, number: int, value: int) -> None:
        """Write a register."""
        self.registers[number] = value & M64
        self.defined.add(number)


class Outside(Protocol):
    """What a program runs in."""

    def load(self, address: int, size: int, into: int | None = None) -> int:
        """An unsigned little-endian integer of memory, which goes to register `into`."""

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low `size` bytes of a value."""

    def stepped(self, function: int, index: int, state: State) -> None:
        """Instruction `index` of a function has been executed, with these registers."""

    def turn(self, function: int, index: int, state: State) -> None:
        """Instruction `index` of a function, a branch, is next; registers may be changed."""

    def compared(
        self, function: int, index: int, left: int, right: int, taken: bool, state: State
    ) -> None:
        """That branch compared these two values, and went that way."""

    def exchange(self, address: int, size: int, value: int) -> None:
        """Store the result of an atomic operation."""

    def attempt(self, address: int, size: int) -> None:
        """A compare-and-exchange found another value, so that it stores nothing."""

    def frame(self, depth: int) -> int:
        """The frame pointer of the function that now begins, `depth` calls deep."""

    def leave(self, frame: int) -> None:
        """A called function with this frame pointer returned."""

    def call(self, target: int, state: State) -> int:
        """A call out of the program; returns r0."""


@dataclass(frozen=True, slots=True)
class Target:
    """What of the kernel and CPU a program's meaning depends on.

    `call_base` is __bpf_call_base; `percpu` this CPU's per-CPU offset; `task` the current
    task; `inlined` helpers by id that the JIT replaces by code: "task" or "cpu" (at offset
    `thread_cpu` of the task). `address_bits` is how many bits user addresses have if probed
    loads check for them (x86_64), 0 if not. `preserving` are call targets that change no
    register but the verifier's `scratch`, `noreturn` those that never return. Offsets are
    those of tail calls; with `patched_tail_calls` (x86_64) those to constant indices are
    patched into the code.
    """

    call_base: int = 0
    percpu: int = 0
    task: int = 0
    inlined: Mapping[int, str] = field(default_factory=dict)
    thread_cpu: int = 0
    address_bits: int = 0
    preserving: frozenset[int] = frozenset()
    noreturn: frozenset[int] = frozenset()
    scratch: int = Reg.AX
    map_max_entries: int = 0
    array_ptrs: int = 0
    prog_bpf_func: int = 0
    tail_entry: int = 0
    patched_tail_calls: bool = False
