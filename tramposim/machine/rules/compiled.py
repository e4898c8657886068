"""A compiled program as the rules see it: code, what it was made from, and the machine's side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tramposim.bpf.insn import Insn, decode
from tramposim.bpf.loaded import LoadedFunction
from tramposim.bpf.outside import Target
from tramposim.machine.rules.listing import Listing
from tramposim.spec import Arch

__all__ = ["GS_BASE", "PERCPU_ARM64", "TASK_ARM64", "CompiledProgram"]

GS_BASE = 0xFFFF888237800000
PERCPU_ARM64 = 0x00007F0012340000
TASK_ARM64 = 0xFFFF000012345000
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class CompiledProgram:
    """A program's code and what it was made from.

    `functions` lie at `addresses`, main first, `lengths` bytes each. `registers` are the
    machine registers of eBPF registers by number, `frames` that of r10 in each function
    (private stacks have one of their own). `names` tell what is at an address.
    `thunks` are where returns go if a mitigation replaces them (empty: `ret`); `indirect`
    where tail calls go through retpolines. `depth` is the address of the call depth counter
    if calls are counted (else 0), `accounted` the callees that count themselves. x86_64 has
    its per-CPU offset in memory at `percpu_at`. `landing_pads`: IBT or BTI is on; `signed`:
    return addresses are signed (arm64 pointer authentication). Without `interpreted` the eBPF
    is not known and only the calling convention is checked.
    """

    arch: Arch
    listing: Listing
    functions: tuple[LoadedFunction, ...]
    addresses: tuple[int, ...]
    target: Target
    registers: Mapping[int, str]
    frames: tuple[str, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    thunks: frozenset[int] = frozenset()
    indirect: frozenset[int] = frozenset()
    tail_register: str = ""
    depth: int = 0
    accounted: frozenset[int] = frozenset()
    percpu_at: int = 0
    landing_pads: bool = False
    signed: bool = False
    interpreted: bool = True

    @cached_property
    def insns(self) -> tuple[list[Insn], ...]:
        """The functions' eBPF instructions."""
        return tuple(decode(function.insns) for function in self.functions)

    def private_frame(self, number: int, percpu: int) -> int | None:
        """The eBPF frame pointer of a function with a private stack, on the CPU with this
        per-CPU offset; None if the function has none."""
        function = self.functions[number]
        if not function.private_stack:
            return None
        unit = _PRIVATE_UNIT[self.arch]
        depth = -(-function.stack_depth // unit) * unit
        return function.private_stack + unit + depth + percpu & _MASK


_PRIVATE_UNIT = {Arch.X86_64: 8, Arch.ARM64: 16}
"""Bytes of the guard below a private stack, and what its size is a multiple of."""
