"""Captured images executed with the captured functions of their own kernel.

Code lies where that kernel had it. Data is what `kerneldata` gives a booted kernel, laid out
as that kernel's structures; everything else that code reaches for appears as zeroed pages,
which are reported.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from tramposim._native import arm64_asm
from tramposim._native.engine import EXECUTE, READ
from tramposim.capture.runtime import CapturedRuntime
from tramposim.errors import GuestFault, InputError, UnsupportedError
from tramposim.kernel.prototype import Passing
from tramposim.machine.addresses import PAGE, Area, address_map
from tramposim.machine.caller import CallingLoop, build_loop, prepare_stack
from tramposim.machine.execution import Execution, run_calls
from tramposim.machine.kerneldata import (
    add_ftrace_ops,
    add_program,
    add_trampoline_image,
)
from tramposim.machine.machine import Machine
from tramposim.machine.maps import add_map
from tramposim.machine.memory import KernelMemory
from tramposim.machine.operations import (
    READ_TSC,
    boot_registers,
    booted_memory,
    fill_code,
    place_data,
)
from tramposim.machine.placement import OWN_PERCPU
from tramposim.machine.runtime import Region, Runtime, load_runtime
from tramposim.spec import Arch, Kernel, Map, MapType, Returns

__all__ = ["Patch", "Program", "ReplayKernel", "Replayed", "ReplayedImage"]

WARM_CALLS = 4
"""Calls before those that count: maps hold their entries, free lists have settled."""

BUDGET_PER_CALL = 200_000
"""Most instructions of one call; the longest captured image needs some ten thousand."""

_MASK = (1 << 64) - 1
_CALLER_DISTANCE = 0x200000
_OFFSETS = (0x0, 0x1040, 0x2080)
"""Where the three pointer arguments point to: lines of pages of their own."""
_POINTERS = {Arch.X86_64: 0xFFFF888300000000, Arch.ARM64: 0xFFFF000300000000}
_REGISTERS = {Arch.X86_64: 6, Arch.ARM64: 8}
_STACK_SLOTS = 8
_UNKNOWN_DATA = {Arch.X86_64: 0xFFFF888400000000, Arch.ARM64: 0xFFFF000400000000}
"""Variables whose place in this kernel is not recorded: no code of it finds them here."""
_ROOM = 1 << 17
_ARRAYS = (MapType.ARRAY, MapType.PROG_ARRAY)
"""Maps whose contents programs reach by what their own code says."""
_READ_TSC_PLACE = 0xFFFFFFFF80010000
"""Below every place that x86_64 kernels are randomised to."""
_READ_TSC_CODE = bytes.fromhex("f30f1efa0f01f948c1e2204809d0c3cc")
"""endbr64; rdtscp; shl rdx, 32; or rax, rdx; ret: a read of the time stamp counter, in order."""
_DIRECT = "ftrace_caller_direct"
_CLOCKS = ("arch_counter_get_cntvct", "guest_arch_counter_read")
"""Readers of arm64's counter that clock sources point to; they depend on no structure."""


@dataclass(frozen=True, slots=True)
class Program:
    """A captured program: struct bpf_prog at `p`, its functions' code, its entry point, and
    its private stacks (per-CPU pointer, bytes)."""

    name: str
    p: int
    bpf_func: int
    code: tuple[tuple[int, bytes], ...]
    stacks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes that were written over code, as attaching does."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ReplayedImage:
    """An image with what it needs.

    `called` is what the loop calls: the traced function, or the image itself (struct_ops).
    `body` is the traced function's code as far as it is captured, from `called` on, and
    `complete` tells that all of it is; `patches` go over the code around; `ops` is the
    ftrace_ops that arm64's entry names (0: none).
    """

    name: str
    address: int
    code: bytes
    size: int
    im: int
    called: int
    body: bytes
    patches: tuple[Patch, ...]
    complete: bool
    ops: int
    programs: tuple[Program, ...]
    maps: tuple[tuple[Map, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay executed, what its very first call returned, the data pages that appeared,
    and functions that are not captured but the guest runtime's."""

    execution: Execution
    first_return: int
    data_pages: tuple[int, ...]
    substitutes: tuple[str, ...]


class ReplayKernel:
    """A kernel of captured functions; every `execute` begins with fresh memory."""

    def __init__(self, captured: CapturedRuntime) -> None:
        self.captured = captured
        self.kernel = captured.kernel
        self.runtime, self.substitutes = _runtime(captured)
        self._spans = sorted(
            (r.address, r.address + len(r.data), r.name) for r in self.runtime.regions
        )

    def execute(self, image: ReplayedImage, calls: int) -> Replayed:
        """Call the image `calls` times after some warm ones, traced.

        Raises `GuestFault` if the code goes astray, `InputError` if parts of the image overlap,
        `UnsupportedError` for a map whose layout in this kernel is not known, and for code of
        the kernel that is reached but not captured.
        """
        code = self._code(image)
        machine = self._machine(image, code)
        memory, (cpu, *_) = booted_memory(self.runtime)
        fill_code(machine, code)
        machine.add_symbols(self.captured.called)
        machine.add_symbols(self.runtime.symbols)
        machine.add_symbols({image.name: image.address})
        for program in image.programs:
            machine.add_symbols({f"bpf_prog_{program.name}": program.bpf_func})
        self._objects(memory, image)
        loop, arguments = self._loop(machine, memory, image)
        place_data(machine, memory)
        boot_registers(machine, cpu)
        engine = machine.engine
        pages: list[int] = []
        returns: list[int] = []
        for count, trace in ((WARM_CALLS, False), (calls, True)):
            prepare_stack(machine, arguments, cpu.stack_top)
            try:
                execution = run_calls(
                    machine, loop, count, trace=trace, budget=BUDGET_PER_CALL, demand=True
                )
            except GuestFault as fault:
                raise self._not_captured(fault, machine) or fault from None
            pages += engine.demanded
            returns += execution.returns
        return Replayed(execution, returns[0], tuple(sorted(pages)), self.not_captured(execution))

    def _not_captured(self, fault: GuestFault, machine: Machine) -> UnsupportedError | None:
        """The error for a jump into the kernel's text where nothing is captured."""
        report = fault.report
        if report is None or report.reason not in ("unmapped-fetch", "exception"):
            return None
        address = report.address if report.reason == "unmapped-fetch" else report.pc
        symbols = self.captured.symbols
        text = range(symbols.get("_stext", 0), symbols.get("_etext", 0))
        if address not in text or any(start <= address < end for start, end, _ in self._spans):
            return None
        source = next((a for a, b in reversed(report.branches) if b == address), report.pc)
        return UnsupportedError(
            f"code of the kernel at {machine.describe(address)} is not captured; it is reached "
            f"from {machine.describe(source)}"
        )

    def _machine(self, image: ReplayedImage, code: Sequence[Region]) -> Machine:
        """A machine whose calling loop lies in reach of what it calls and clear of the code.

        x86_64 kernels' JIT code and text are all in reach of each other.
        """
        near = [image.address, *(p.bpf_func for p in image.programs)]
        start = image.called if self.kernel.arch is Arch.ARM64 else min(near)
        base = (start - _CALLER_DISTANCE) & -PAGE
        taken = [(region.address & -PAGE, region.address + len(region.data)) for region in code]
        while any(start < base + PAGE and base < end for start, end in taken):
            base -= PAGE
        areas = address_map(self.kernel.arch)
        driver = Area("driver", base, PAGE, READ | EXECUTE, 64)
        return Machine(self.kernel, replace(areas, driver=driver))

    def _code(self, image: ReplayedImage) -> list[Region]:
        """The image, its programs and the traced function, and captured functions around them."""
        own = [Region(image.address, image.code, image.name, True)]
        for program in image.programs:
            own += [Region(at, code, program.name, True) for at, code in program.code]
        if image.body:
            own.append(Region(image.called, image.body, "traced function", True))
        own = _unique(own)
        hidden: set[int] = set()
        for region in own:
            at = bisect_right(self._spans, (region.address,))
            at -= at > 0 and self._spans[at - 1][1] > region.address
            while at < len(self._spans) and self._spans[at][0] < region.address + len(region.data):
                hidden.add(self._spans[at][0])
                at += 1
        regions = own + [r for r in self.runtime.regions if r.address not in hidden]
        for patch in image.patches:
            regions = _patched(regions, patch)
        return regions

    def _objects(self, memory: KernelMemory, image: ReplayedImage) -> None:
        for p, program in {program.p: program for program in image.programs}.items():
            if p:
                add_program(memory, program.bpf_func, p, program.name)
            for pointer, size in program.stacks:
                memory.add(memory.percpu_address(pointer, 0), size, f"stack of {program.name}")
        if image.im:
            add_trampoline_image(memory, image.address, image.size, image.im)
        if image.ops:
            add_ftrace_ops(memory, image.address, image.ops)
        for declared, address in image.maps:
            if declared.type not in _ARRAYS and not self.captured.lays_out(declared.type):
                raise UnsupportedError(
                    f"map {declared.name}: how kernel {self.kernel.version} lays out maps of type "
                    f"{declared.type} is not recorded"
                )
            add_map(memory, declared, address)

    def _loop(
        self, machine: Machine, memory: KernelMemory, image: ReplayedImage
    ) -> tuple[CallingLoop, Sequence[tuple[Passing, int]]]:
        """The loop of the hardware measurements: pointers as arguments 1, 2 and 5, small
        numbers as the others, from argument 7 on the number 7 and those behind it."""
        arch = self.kernel.arch
        first, second, third = (_POINTERS[arch] + offset for offset in _OFFSETS)
        for pointer in (first, second, third):
            memory.add(pointer, 64, "what an argument points to")
        count = _REGISTERS[arch]
        values = [first, second, 3, 4, third, 6, 7, 8]
        arguments = [(Passing(i, 8, register=i), values[i]) for i in range(count)]
        arguments += [(Passing(count + i, 8, stack=i), count + 1 + i) for i in range(_STACK_SLOTS)]
        return build_loop(machine, image.called, arguments), arguments

    def not_captured(self, execution: Execution) -> tuple[str, ...]:
        """Functions that a traced execution took from the guest runtime."""
        if not self.substitutes or execution.trace is None:
            return ()
        executed = np.unique(execution.trace.pcs)
        found = []
        for start, end, name in self._spans:
            if name in self.substitutes:
                first, last = np.searchsorted(executed, np.array([start, end], np.uint64))
                if first < last:
                    found.append(name)
        return tuple(sorted(found))


def _unique(regions: Iterable[Region]) -> list[Region]:
    """Without repetitions; raises `InputError` if two different ones overlap."""
    found: dict[int, Region] = {}
    for region in regions:
        present = found.setdefault(region.address, region)
        if present.data != region.data:
            raise InputError(f"two codes at {region.address:#x}: {present.name}, {region.name}")
    ordered = sorted(found.values(), key=lambda region: region.address)
    for before, after in pairwise(ordered):
        if before.address + len(before.data) > after.address:
            raise InputError(f"{before.name} and {after.name} overlap at {after.address:#x}")
    return ordered


def _patched(regions: list[Region], patch: Patch) -> list[Region]:
    """The regions with `patch` written over the one that it lies in, or beside them."""
    for number, region in enumerate(regions):
        at = patch.address - region.address
        if 0 <= at < len(region.data):
            data = bytearray(region.data)
            part = patch.data[: len(data) - at]
            data[at : at + len(part)] = part
            changed = replace(region, data=bytes(data))
            return [*regions[:number], changed, *regions[number + 1 :]]
    return [*regions, Region(patch.address, patch.data, "patched", True)]


def _runtime(captured: CapturedRuntime) -> tuple[Runtime, frozenset[str]]:
    """The captured functions as a runtime; names of those that are ours and may execute."""
    kernel = captured.kernel
    regions: dict[int, Region] = {}
    for function in captured.functions:
        regions.setdefault(
            function.address, Region(function.address, function.code, function.name, True)
        )
    if kernel.returns is Returns.STUFFING:
        _add_padding(regions, captured)
    ours = _ours(captured, kernel)
    spans = [(r.address, r.address + len(r.data)) for r in regions.values()]
    added = [
        region
        for region in ours.regions
        if (captured.known_build or region.name in _CLOCKS)
        and not any(a < region.address + len(region.data) and region.address < b for a, b in spans)
    ]
    added += _direct_entry(captured, spans)
    if kernel.arch is Arch.X86_64 and READ_TSC not in captured.symbols:
        added.append(Region(_READ_TSC_PLACE, _READ_TSC_CODE, READ_TSC, True))
    symbols = {region.name: region.address for region in added} | dict(captured.symbols)
    structs = captured.structs
    unknown = _UNKNOWN_DATA[kernel.arch]
    end = symbols["__per_cpu_start"] + structs.percpu_size
    for name, address in ours.symbols.items():
        if name in symbols:
            continue
        if captured.known_build or name in _CLOCKS:
            symbols[name] = address
        elif name in structs.percpu or name in OWN_PERCPU:
            symbols[name], end = end, end + _ROOM
        else:
            symbols[name], unknown = unknown, unknown + _ROOM
    size = max(structs.percpu_size, end - symbols["__per_cpu_start"])
    runtime = Runtime(
        kernel,
        replace(structs, percpu_size=size),
        1,
        tuple(sorted([*regions.values(), *added], key=lambda region: region.address)),
        MappingProxyType(symbols),
        frozenset(),
    )
    return runtime, frozenset(region.name for region in added)


def _add_padding(regions: dict[int, Region], captured: CapturedRuntime) -> None:
    """What lies before the functions: the kernel's own calls go to the accounting there."""
    ends = {address + len(region.data) for address, region in regions.items()}
    for function in captured.functions:
        at = function.address - len(function.before)
        if function.before and not any(at < end <= function.address for end in ends):
            regions[at] = Region(at, function.before, f"padding of {function.name}", True)


def _direct_entry(captured: CapturedRuntime, spans: list[tuple[int, int]]) -> list[Region]:
    """What arm64's ftrace_caller branches to with the image in x17: `br x17`.

    It lies behind the function and is recorded only if the capture took it for one.
    """
    address = captured.called.get(_DIRECT)
    if address is None or any(start <= address < end for start, end in spans):
        return []
    return [Region(address, arm64_asm.ISA.encode_one("br", 17), _DIRECT, True)]


def _ours(captured: CapturedRuntime, kernel: Kernel) -> Runtime:
    if not captured.known_build:
        return load_runtime(kernel)
    addresses = {name: address for name, address in captured.symbols.items() if "." not in name}
    return load_runtime(kernel, {n: a for n, a in addresses.items() if not n.startswith("_s")})
