"""A booted kernel in guest memory: its runtime, the CPU, maps and loaded programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.bpf.fixup import FixupEnvironment, fixup
from tramposim.bpf.loaded import LoadedProgram
from tramposim.errors import InputError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.program import compile_program, lay_out
from tramposim.machine.addresses import AddressMap, address_map
from tramposim.machine.hypercall import HostFunction, Hypercalls
from tramposim.machine.kerneldata import COUNTER_HZ, add_program, kernel_memory
from tramposim.machine.machine import Machine
from tramposim.machine.maps import (
    PlacedMap,
    add_map,
    array_values,
    hash_entries,
    perf_records,
    queue_values,
    ring_records,
    stack_trace,
)
from tramposim.machine.outputmaps import OUTPUT_TYPES, Filled, take_all
from tramposim.machine.runtime import load_runtime
from tramposim.machine.tracebuffer import trace_lines
from tramposim.spec import Arch, Entry, Kernel, Map, MapType, Program

__all__ = ["GuestKernel", "GuestProgram"]

_INTERRUPTS_ENABLED = 0x202
"""RFLAGS of a task in kernel mode: interrupts on, and the bit that is always set."""

_INSTRUCTIONS_PER_SECOND = 2_000_000_000
"""How fast guest time passes while the guest executes: an IPC of 1 at 2 GHz."""

_HEADER = 8
"""Bytes between the start of a JIT allocation (64-byte chunks) and a program's code."""


@dataclass(frozen=True, slots=True)
class GuestProgram:
    """A loaded program: its struct bpf_prog at `p`, its code at `address`."""

    p: int
    address: int
    code: bytes
    loaded: LoadedProgram


class GuestKernel:
    """One kernel, booted, with one CPU running a task in process context.

    Kernel memory is built on the host side; `commit` maps what was added since the last time.
    With `addresses` everything lies there instead of at the kernel's places.
    """

    def __init__(self, kernel: Kernel, addresses: AddressMap | None = None) -> None:
        self.kernel = kernel
        if addresses is None:
            addresses = address_map(kernel.arch, near=kernel.entry is Entry.BL)
            self.runtime = load_runtime(kernel)
        else:
            self.runtime = load_runtime(kernel, {"_stext": addresses.text.base})
        self.memory, (self.cpu, *_) = kernel_memory(self.runtime, addresses)
        self.machine = Machine(kernel, addresses)
        self.machine.add_symbols(self.runtime.symbols)
        self.machine.add_exceptions(self.runtime.exceptions)
        code = [(region.address, region.data, region.name) for region in self.runtime.regions]
        self.machine.place_pages(code, READ | EXECUTE, b"\0")
        self.maps: dict[str, PlacedMap] = {}
        self.hypercalls: Hypercalls | None = None
        self._committed: set[int] = set()
        self._set_registers()

    def _set_registers(self) -> None:
        engine, cpu = self.machine.engine, self.cpu
        engine.set_clock_rate(COUNTER_HZ[self.kernel.arch], _INSTRUCTIONS_PER_SECOND)
        if self.kernel.arch is Arch.X86_64:
            engine.set_register("gs_base", cpu.percpu_offset)
            engine.set_register("rflags", _INTERRUPTS_ENABLED)
        else:
            engine.set_register("tpidr_el1", cpu.percpu_offset)
            engine.set_register("sp_el0", cpu.task)

    def add_hypercalls(self, functions: Mapping[str, HostFunction]) -> None:
        """Let the host execute these helpers for every program that is loaded from now on."""
        self.hypercalls = Hypercalls(self.machine, functions)

    @property
    def symbols(self) -> Mapping[str, int]:
        """Addresses that programs are linked to: the runtime's, hypercalls before them."""
        if self.hypercalls is None:
            return self.runtime.symbols
        return {**self.runtime.symbols, **self.hypercalls.symbols}

    def add_map(self, declared: Map, address: int | None = None) -> None:
        """Create a map that does not exist yet, at `address` if given.

        Raises `InputError` if one of that name exists but is another map.
        """
        present = self.maps.get(declared.name)
        if present is None:
            self.maps[declared.name] = add_map(self.memory, declared, address)
        elif present.map != declared:
            raise InputError(f"two programs declare map {declared.name!r} differently")

    def load(self, program: Program) -> GuestProgram:
        """Load a program: create its maps, rewrite it as the verifier does, compile it."""
        for declared in program.maps:
            self.add_map(declared)
        maps = {name: placed.address for name, placed in self.maps.items()}
        layout = self.runtime.structs
        stext = self.runtime.symbols.get("_stext", layout.stext)
        environment = FixupEnvironment(
            self.kernel,
            self.symbols,
            maps,
            text={name: stext + offset for name, (offset, _) in layout.text.items()},
            private_stack=lambda size, align: self.memory.percpu(size, "a private stack", align),
        )
        return self.load_rewritten(fixup(program, environment))

    def load_rewritten(self, loaded: LoadedProgram) -> GuestProgram:
        """Compile a program as it is after the verifier; its map addresses must hold here."""
        jit = self.jit_environment()
        address = self.next_code_address() + _HEADER
        code = compile_program(jit, loaded, lay_out(jit, loaded, address)).content
        self.place_code(address, code, f"bpf_prog_{loaded.name}")
        p = add_program(self.memory, address, name=loaded.name)
        return GuestProgram(p, address, code, loaded)

    def jit_environment(self) -> JitEnvironment:
        """What programs are compiled in."""
        symbols = self.runtime.symbols
        accounted = frozenset(symbols[name] for name in self.runtime.accounted)
        return JitEnvironment(self.kernel, symbols, accounted=accounted)

    def next_code_address(self) -> int:
        """Where the next JIT allocation will lie."""
        return self.machine.allocate(self.machine.addresses.jit, 0)

    def place_code(self, address: int, code: bytes, name: str) -> None:
        """Put code where it was compiled for: at or right behind `next_code_address`."""
        area = self.machine.addresses.jit
        start = self.machine.allocate(area, address % area.align + len(code))
        if start != address - address % area.align:
            raise InputError(f"{name} was compiled for {address:#x}, where there is no room")
        self.machine.place(address, code, area.permissions, name)
        self.machine.add_symbols({name: address})

    def commit(self) -> None:
        """Map the kernel memory that was added since the last commit."""
        for region in self.memory.regions():
            if region.address not in self._committed:
                self.machine.place(region.address, region.data, READ | WRITE)
                self._committed.add(region.address)

    def empty_outputs(self) -> dict[str, Filled]:
        """Let readers take everything out of ring and perf buffers; what waited, by map."""
        self.commit()
        machine = self.machine
        return {
            name: take_all(placed, self.memory, machine.read, machine.write)
            for name, placed in self.maps.items()
            if placed.map.type in OUTPUT_TYPES
        }

    def array(self, name: str) -> list[bytes]:
        """Values of an array map, of a per-CPU array those of this CPU."""
        placed = self._map(name)
        return list(array_values(placed, self.machine.read, 0 if placed.percpu else None))

    def hash(self, name: str) -> dict[bytes, bytes]:
        """Entries of a hash map; of a per-CPU hash this CPU's values."""
        placed = self._map(name)
        cpu = 0 if placed.percpu else None
        return dict(hash_entries(placed, self.memory, self.machine.read, cpu))

    def records(self, name: str) -> list[bytes]:
        """Records that wait in a ring buffer or in this CPU's perf buffer, oldest first."""
        placed = self._map(name)
        read = ring_records if placed.map.type is MapType.RINGBUF else perf_records
        return list(read(placed, self.memory, self.machine.read))

    def queue(self, name: str) -> list[bytes]:
        """Values of a queue or stack, oldest first."""
        return list(queue_values(self._map(name), self.memory, self.machine.read))

    def stack(self, name: str, number: int) -> tuple[int, ...] | None:
        """The stack that a map of stack traces keeps under a number, innermost first."""
        return stack_trace(self._map(name), self.memory, self.machine.read, number)

    def printed(self) -> list[str]:
        """Lines that are in the trace buffer (bpf_trace_printk), oldest first."""
        self.commit()
        return [line.text for line in trace_lines(self.memory, self.machine.read)]

    def _map(self, name: str) -> PlacedMap:
        self.commit()
        try:
            return self.maps[name]
        except KeyError:
            known = ", ".join(self.maps) or "none"
            raise InputError(f"no program declares a map {name!r}; there are: {known}") from None
