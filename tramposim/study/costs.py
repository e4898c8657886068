"""Stated costs: helpers without guest code, executed by the host at a price that a user names.

What a helper costs in cycles cannot be known without code that executes. Who knows it for
the kernel in question states it; every result that used it says so. There are no defaults.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.host import Host
from tramposim.errors import InputError, MissingFunction, UnsupportedError
from tramposim.machine.guestkernel import GuestKernel, GuestProgram
from tramposim.machine.hypercall import MachineMemory
from tramposim.spec import Program

__all__ = [
    "NO_COSTS",
    "StatedCost",
    "add_stated_helpers",
    "load_program",
    "parse_costs",
    "stated_costs",
]

NO_COSTS: Mapping[str, float] = MappingProxyType({})

_MACROS = {"bpf_printk": ("bpf_trace_printk", "bpf_trace_vprintk")}
"""What users know under the name of libbpf's macro."""

_MOST_CYCLES = 1e9


@dataclass(frozen=True, slots=True)
class StatedCost:
    """A helper that was not executed: calls per traced call, and cycles of each as stated."""

    helper: str
    calls_per_call: float
    cycles: float

    @property
    def cycles_per_call(self) -> float:
        """Cycles that it adds to a traced call."""
        return self.calls_per_call * self.cycles

    @property
    def text(self) -> str:
        """`2 bpf_trace_printk at 800 cycles`."""
        return f"{self.calls_per_call:g} {self.helper} at {self.cycles:g} cycles"


def parse_costs(words: Iterable[str]) -> Mapping[str, float]:
    """Costs by helper from `HELPER=CYCLES`; `bpf_printk` means what that macro calls.

    Raises `InputError` for another form, an unknown helper or a number that is no cost,
    `UnsupportedError` for a helper that the host cannot execute.
    """
    costs: dict[str, float] = {}
    known = Host().helpers()
    for word in words:
        name, separator, text = word.partition("=")
        try:
            cycles = float(text)
        except ValueError:
            cycles = math.nan
        if not separator or not 0 <= cycles <= _MOST_CYCLES:
            raise InputError(f"{word!r}: write HELPER=CYCLES, such as bpf_printk=800", "--cost")
        name = name.strip() if name.startswith("bpf_") else f"bpf_{name.strip()}"
        for helper in _MACROS.get(name, (name,)):
            if helper in known:
                costs[helper] = cycles
            elif helper in HELPER_IDS and name not in _MACROS:
                raise UnsupportedError(f"--cost: {helper} cannot be executed by the host")
            elif name not in _MACROS:
                raise InputError(f"{name} is no helper of the kernel's", "--cost")
    return costs


def add_stated_helpers(guest: GuestKernel, costs: Mapping[str, float]) -> None:
    """Let the host execute the helpers with a stated cost."""
    if costs:
        helpers = Host(memory=MachineMemory(guest.machine)).helpers()
        guest.add_hypercalls({name: helpers[name] for name in costs})


def load_program(guest: GuestKernel, program: Program) -> GuestProgram:
    """Load a program; `UnsupportedError` names a helper without code and the way out."""
    try:
        return guest.load(program)
    except MissingFunction as missing:
        helper = missing.user
        where = f"{program.name}: {helper} has no code on {guest.kernel.arch} here"
        if helper in Host().helpers():
            where += f"; state what it costs: --cost {helper}=CYCLES"
        raise UnsupportedError(where) from None


def stated_costs(
    guest: GuestKernel, costs: Mapping[str, float], calls: int
) -> tuple[StatedCost, ...]:
    """What the host executed in the last `calls` traced calls."""
    if guest.hypercalls is None:
        return ()
    counts = guest.hypercalls.counts
    return tuple(
        StatedCost(name, counts[name] / calls, cycles)
        for name, cycles in costs.items()
        if counts[name]
    )
