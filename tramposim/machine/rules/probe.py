"""The probe: code alone on a CPU. Whatever it calls lies outside; leaving it stops the CPU.

Nothing is mapped but the code, a stack and what the caller adds. A call, jump or return to
anywhere else stops with the registers as the callee would find them; the caller plays the
callee and goes on. So the code runs at its own addresses, without any of what it calls.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tramposim._native.engine import EXECUTE, READ, WRITE, Engine
from tramposim.errors import GuestFault, UnsupportedError
from tramposim.machine.rules.convention import CONVENTIONS
from tramposim.machine.rules.listing import Flow, Listing
from tramposim.machine.trace import ACCESS
from tramposim.spec import Arch

__all__ = ["PAGE", "STACK_SIZE", "Departure", "Probe", "Segment"]

PAGE = 4096
STACK_SIZE = 16384
"""Bytes of the stack."""
_ABOVE = 1024
"""Bytes of the stack above its first stack pointer: the callers' frames."""
_STACK = 0xFFFFE50000000000
_NOWHERE = 1
"""An address that no code reaches: runs end by leaving the code."""
BUDGET = 100_000
"""Most instructions between two calls."""
_FILL = {Arch.X86_64: b"\xcc", Arch.ARM64: bytes.fromhex("002020d4")}
"""What surrounds the code in its pages: int3, brk."""
_ARITHMETIC_FLAGS = {Arch.X86_64: 0x8D5, Arch.ARM64: 0xF0000000}
_FIXED_FLAGS = {Arch.X86_64: 0x202, Arch.ARM64: 0}
_MASK = (1 << 64) - 1
_MAX_WATCHED = 16000
_MEMORY_OPERAND = 3
_MAX_PAGES = 1024
_REASONS = {
    "budget": "does not end: an endless loop",
    "undefined-instruction": "is no instruction",
    "exception": "raises a CPU exception",
    "unmapped-read": "reads where nothing is",
    "unmapped-write": "writes where nothing is",
    "protected-write": "writes to code",
    "protected-read": "reads protected memory",
    "trace-full": "does not end: the trace is full",
    "out-of-memory": "fills the memory for the trace",
    "timeout": "does not end in time",
    "emulator": "makes the emulator fail",
    "end": "jumps to address 1",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """What ran since the last departure: pcs, accesses (dtype `ACCESS`), the stack pointer
    before each instruction (None if not all were watched) and behind the last one; likewise
    `followed`, the values of the registers that the probe follows besides."""

    pcs: NDArray[np.uint64]
    accesses: NDArray[np.void]
    stack: NDArray[np.uint64] | None
    stack_behind: int
    followed: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Departure:
    """The code left: from instruction `site` to `target`, by a call, jump or return.

    `problem` is set if it did not get that far: the reason, and `address` the memory that it
    touched. `back` is the return address of a call.
    """

    site: int
    target: int
    flow: Flow
    back: int = 0
    problem: str = ""
    reason: str = ""
    address: int = 0
    size: int = 0
    branches: tuple[tuple[int, int], ...] = ()


@cache
def _details() -> Any:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.detail = True
    return decoder


class Probe:
    """One CPU of an architecture, used for one piece of code after the other.

    Everything that a rule must not depend on is random, by `seed`: the stack's contents,
    registers, flags, and what callees leave in the registers that they may change.
    """

    def __init__(self, arch: Arch, seed: int = 0) -> None:
        self.arch = arch
        self.convention = CONVENTIONS[arch]
        self.engine = Engine(arch.value, trace_limit=1 << 24)
        self.random = random.Random(seed)
        self.stack_base = _STACK
        self.stack_top = _STACK + STACK_SIZE - _ABOVE
        self.engine.map(_STACK, STACK_SIZE, READ | WRITE)
        self.listing = Listing(arch)
        self.segments: list[Segment] = []
        self._noise = random.Random(seed ^ 0x57AC).randbytes(2 * STACK_SIZE)
        self._code: list[int] = []
        self._extra: list[int] = []
        self._watched = True
        self.follow: tuple[str, ...] = ()

    def load(self, listing: Listing) -> None:
        """Put code into place; what was loaded before is gone."""
        for address in (*self._code, *self._extra):
            self.engine.unmap(address)
        self._code.clear()
        self._extra.clear()
        fill = _FILL[self.arch] * (PAGE // len(_FILL[self.arch]))
        pages: set[int] = set()
        for address, code in listing.chunks:
            if not code or address + len(code) > _MASK:
                raise UnsupportedError(f"{len(code)} bytes of code at {address:#x}")
            pages.update(range(address // PAGE, (address + len(code) - 1) // PAGE + 1))
        if len(pages) > _MAX_PAGES:
            raise UnsupportedError(f"code of {len(pages)} pages; at most {_MAX_PAGES} are checked")
        for page in sorted(pages):
            self.engine.map(page * PAGE, PAGE, READ | EXECUTE)
            self._code.append(page * PAGE)
            self.engine.write(page * PAGE, fill)
        for address, code in listing.chunks:
            self.engine.write(address, code)
        self.listing = listing
        self._watched = len(listing.at) <= _MAX_WATCHED
        self.engine.watch(listing.at if self._watched else ())

    def add_memory(self, address: int, data: bytes) -> None:
        """Map the page-aligned memory with these contents (whole pages)."""
        self.engine.map(address, len(data), READ | WRITE)
        self._extra.append(address)
        self.engine.write(address, data)

    def drop(self, addresses: Iterable[int]) -> None:
        """Unmap memory that was added at these addresses."""
        for address in addresses:
            self.engine.unmap(address)
            self._extra.remove(address)

    def reset(self) -> dict[str, int]:
        """Random registers and stack; the stack pointer at `stack_top`. Returns the registers."""
        self.segments.clear()
        start = self.random.randrange(0, STACK_SIZE, 8)
        self.engine.write(self.stack_base, self._noise[start : start + STACK_SIZE])
        convention = self.convention
        values = {name: self.noise() for name in (*convention.saved, *convention.volatile)}
        values[convention.stack] = self.stack_top
        self.set(values)
        self.shake_flags()
        return values

    def noise(self) -> int:
        """64 random bits, no address of anything."""
        return self.random.getrandbits(64) | 1 << 62

    def set(self, values: Mapping[str, int]) -> None:
        """Set registers."""
        for name, value in values.items():
            self.engine.set_register(name, value & _MASK)

    def get(self, name: str) -> int:
        """A register's value."""
        return self.engine.register(name)

    def read(self, address: int, size: int = 8) -> int:
        """A little-endian integer; `GuestFault` where nothing is mapped."""
        return int.from_bytes(self.engine.read(address & _MASK, size), "little")

    def write(self, address: int, value: int, size: int = 8) -> None:
        """Store an integer."""
        self.engine.write(address & _MASK, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def readable(self, address: int, size: int = 8) -> bool:
        """Whether memory is mapped there."""
        try:
            self.engine.read(address & _MASK, size)
        except GuestFault:
            return False
        return True

    def callee_returns(self, result: int, preserving: str = "") -> None:
        """The called function returns `result`, after all that it may do: volatile registers,
        flags and everything below the stack pointer change. With `preserving` no register does
        but that one, which holds the result."""
        convention = self.convention
        if not convention.link:
            self.engine.set_register(convention.stack, self.get(convention.stack) + 8 & _MASK)
        if not preserving:
            self.set({name: self.noise() for name in convention.volatile})
        self.engine.set_register(preserving or convention.result, result & _MASK)
        self.shake_flags()
        below = self.get(convention.stack) - self.stack_base
        if 0 < below <= STACK_SIZE:
            count = min(below, 1024)
            start = self.random.randrange(0, STACK_SIZE, 8)
            noise = self._noise[start : start + count]
            self.engine.write(self.stack_base + below - count, noise)

    def shake_flags(self) -> None:
        """Random arithmetic flags."""
        arch = self.arch
        shaken = self.random.getrandbits(32) & _ARITHMETIC_FLAGS[arch]
        self.engine.set_register(self.convention.flags, _FIXED_FLAGS[arch] | shaken)

    def go(self, pc: int, budget: int = BUDGET, stop_at: int = 0) -> Departure:
        """Run from `pc` until the code is left or cannot go on, or comes to `stop_at` (reason
        "hypercall"), which then ends the segment as if it had run."""
        self.engine.set_doors(stop_at, int(stop_at != 0))
        stop = self.engine.run(pc, _NOWHERE, budget, trace=True)
        site, target = self.engine.last_pc or pc, stop.pc
        # Other code may lie in the pages of this one: there a trap stands in its place.
        outside = stop.reason == "exception" and site not in self.listing
        self._keep(outside, stop.pc if stop.reason == "hypercall" else 0)
        if outside:
            target = site
            site = stop.branches[-1][0] if stop.branches else pc
        elif stop.reason not in ("unmapped-fetch", "protected-fetch"):
            what = _REASONS.get(stop.reason, f"stops: {stop.reason}")
            return Departure(
                site, stop.pc, Flow.NONE, 0, what, stop.reason,
                stop.address, stop.size, stop.branches,
            )  # fmt: skip
        flow = self.listing.flow(site)
        back = 0
        if flow is Flow.CALL:
            link = self.convention.link
            back = self.get(link) if link else self.read(self.get(self.convention.stack))
        return Departure(site, target, flow, back, branches=stop.branches)

    def forget_last(self) -> None:
        """Leave the last instruction out of the last segment: it faulted and runs again."""
        last = self.segments.pop()
        count = max(len(last.pcs) - 1, 0)
        self.segments.append(
            Segment(
                last.pcs[:count],
                last.accesses[last.accesses["insn"] < count],
                None if last.stack is None else last.stack[:count],
                last.stack_behind,
                {name: values[:count] for name, values in last.followed.items()},
            )
        )

    def effective_address(self, site: int, otherwise: int) -> int:
        """The address of an x86_64 instruction's memory operand, from the registers as they
        stand; `otherwise` if it has none. (The emulator drops an address's upper bits.)"""
        instruction = self.listing.at.get(site)
        code = instruction.code if instruction else b""
        insn = next(_details().disasm(code, site), None)
        if insn is None:
            return otherwise
        for operand in insn.operands:
            if operand.type != _MEMORY_OPERAND:
                continue
            memory = operand.mem
            address = memory.disp
            for register, scale in ((memory.base, 1), (memory.index, memory.scale)):
                if register:
                    name = insn.reg_name(register)
                    value = site + insn.size if name == "rip" else self.get(name)
                    address += value * scale
            if memory.segment and insn.reg_name(memory.segment) == "gs":
                address += self.get("gs_base")
            return int(address) & _MASK
        return otherwise

    def _keep(self, outside: bool, stopped_at: int = 0) -> None:
        """Keep what ran as a segment; if it stopped before an instruction, with a row for it."""
        pcs_buffer, access_buffer = self.engine.take_trace()
        pcs = np.frombuffer(pcs_buffer, np.uint64)
        if outside:
            pcs = pcs[:-1]
        accesses = np.frombuffer(access_buffer, ACCESS)
        stack = None
        followed: dict[str, NDArray[np.uint64]] = {}
        if self._watched:
            names = tuple(self.engine.register_ids)
            rows = np.frombuffer(self.engine.take_snapshots(), np.uint64)
            rows = rows.reshape(-1, len(names) + 2)
            if len(rows) == len(pcs):
                stack = rows[:, names.index(self.convention.stack) + 2].copy()
                for name in self.follow:
                    followed[name] = rows[:, names.index(name) + 2].copy()
        behind = self.get(self.convention.stack)
        if stopped_at:
            pcs = np.append(pcs, np.uint64(stopped_at))
            if stack is not None:
                stack = np.append(stack, np.uint64(behind))
            for name, values in followed.items():
                followed[name] = np.append(values, np.uint64(self.get(name)))
        self.segments.append(Segment(pcs, accesses, stack, behind, followed))

    def outcomes(self) -> Iterable[tuple[int, int]]:
        """(branch, next instruction) of every conditional branch that ran in this path."""
        conditional = [
            address for address in self.listing.at
            if self.listing.flow(address) is Flow.CONDITIONAL
        ]  # fmt: skip
        wanted = np.array(conditional, np.uint64)
        seen: set[tuple[int, int]] = set()
        for segment in self.segments:
            where = np.flatnonzero(np.isin(segment.pcs[:-1], wanted))
            seen.update((int(segment.pcs[index]), int(segment.pcs[index + 1])) for index in where)
        return seen
