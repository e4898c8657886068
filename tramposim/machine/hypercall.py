"""Hypercalls: functions of the guest kernel that the host executes.

A helper without guest code gets an entry in guest memory that consists of its return. When
the guest reaches it, the host's function gets the arguments, the entry returns its result,
and the call is counted. What the function would have cost is not executed: whoever measures
must state it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tramposim.bpf.inlining import REDIRECTS
from tramposim.bpf.memory import Memory
from tramposim.machine.machine import Machine
from tramposim.machine.target import return_code
from tramposim.spec import Arch

__all__ = ["HostFunction", "Hypercalls", "MachineMemory"]

HostFunction = Callable[[Sequence[int]], int]
"""A called function: r1 to r5 in, r0 out (64 bits)."""

_ARGUMENTS = {
    Arch.X86_64: ("rdi", "rsi", "rdx", "rcx", "r8"),
    Arch.ARM64: ("x0", "x1", "x2", "x3", "x4"),
}
"""Registers of r1 to r5 at a call (the JITs' register maps)."""
_RESULT = {Arch.X86_64: "rax", Arch.ARM64: "x0"}
_ENTRY = 16
_MASK = (1 << 64) - 1


class MachineMemory(Memory):
    """A machine's memory as helpers of the interpreter see it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes; `GuestFault` unless they are mapped."""
        return self.machine.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes; `GuestFault` unless the place is mapped."""
        self.machine.write(address, data)


class Hypercalls:
    """Entries of `functions` (by helper name) in a machine.

    `symbols` are their addresses by the kernel's name of the function that programs are
    linked to; `counts` says how often each helper was called.
    """

    def __init__(self, machine: Machine, functions: Mapping[str, HostFunction]) -> None:
        self.machine = machine
        self.counts: Counter[str] = Counter()
        self.symbols: dict[str, int] = {}
        self._functions: dict[int, tuple[str, HostFunction]] = {}
        area = machine.addresses.driver
        size = _ENTRY * max(len(functions), 1)
        base = machine.allocate(area, size)
        for number, (name, function) in enumerate(functions.items()):
            address = base + _ENTRY * number
            machine.place(
                address, return_code(machine, address), area.permissions, f"hypercall {name}"
            )
            self.symbols[REDIRECTS.get(name, name)] = address
            self._functions[address] = name, function
        machine.add_symbols({f"hypercall {name}": a for a, (name, _) in self._functions.items()})
        machine.set_doors(base, size, self._enter)

    def _enter(self, address: int) -> None:
        name, function = self._functions[address]
        engine, arch = self.machine.engine, self.machine.arch
        self.counts[name] += 1
        result = function([engine.register(register) for register in _ARGUMENTS[arch]])
        engine.set_register(_RESULT[arch], result & _MASK)
