"""A traced world: a kernel, a function, what is attached to it, ready to be called.

Everything that a booted kernel would hold is built from values: the runtime's functions,
maps, programs through the verifier's rewriting and the JIT, the trampoline image, the
patched entry, and a loop that calls the function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.bpf.fixup import FixupEnvironment, fixup
from tramposim.bpf.loaded import LoadedProgram
from tramposim.errors import GuestFault, InputError
from tramposim.jit.program import JitEnvironment, compile_program
from tramposim.jit.trampoline import TrampolineRequest, build_trampoline
from tramposim.kernel.attach import Link, Trampoline
from tramposim.kernel.image import Image
from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.kernel.prototype import Passing, place_arguments
from tramposim.machine.abi import check_arguments
from tramposim.machine.caller import build_loop, prepare_stack
from tramposim.machine.execution import Execution, run_calls
from tramposim.machine.kerneldata import (
    COUNTER_HZ,
    add_ftrace_ops,
    add_program,
    add_trampoline_image,
    kernel_memory,
)
from tramposim.machine.machine import Machine
from tramposim.machine.maps import PlacedMap, add_map, array_values, hash_entries
from tramposim.machine.runtime import load_runtime
from tramposim.machine.target import Target, patch_entry, place_target
from tramposim.spec import Arch, Attachment, Entry, Kernel, Map, Prototype

__all__ = ["Cell", "GuestProgram", "TargetProgram", "TracedWorld", "default_arguments"]

_INTERRUPTS_ENABLED = 0x202
"""RFLAGS of a task in kernel mode: interrupts on, and the bit that is always set."""

_INSTRUCTIONS_PER_SECOND = 2_000_000_000
"""How fast guest time passes while the guest executes: an IPC of 1 at 2 GHz."""

_HEADER = 8
"""Bytes between the start of a JIT allocation (64-byte chunks) and a program's code."""

_BRANCH_RANGE = 128 << 20
"""Reach of an arm64 `bl`, either way."""


@dataclass(frozen=True, slots=True)
class Cell:
    """An argument that is the address of `size` bytes holding `value` (little-endian)."""

    size: int
    value: int = 0


def default_arguments(prototype: Prototype) -> tuple[int | Cell, ...]:
    """Values for the slots of a function: a cache line of zeros for whatever may be a pointer
    (8 bytes, unsigned), else the slot's number, from 1."""
    values: list[int | Cell] = []
    for argument in prototype.arguments:
        if argument.size == 8 and not argument.signed and not argument.struct:
            values.append(Cell(64))
        else:
            values += [len(values) + 1 + piece for piece in range(argument.slots)]
    return tuple(values)


@dataclass(frozen=True, slots=True)
class TargetProgram:
    """A BPF program as the traced function: as the JIT gets it, with its maps in place.

    `maps` are (map, address of its struct bpf_map in the program's instructions).
    """

    loaded: LoadedProgram
    maps: tuple[tuple[Map, int], ...] = ()


@dataclass(frozen=True, slots=True)
class GuestProgram:
    """A program in the guest: its struct bpf_prog at `p`, its code at `address`, its origin."""

    p: int
    address: int
    code: bytes
    loaded: LoadedProgram
    attachment: Attachment


class TracedWorld:
    """A function of `prototype` on `kernel` with programs attached in the given order.

    Without attachments the function is untraced; otherwise `image` is its trampoline, reached
    by `entry`, with `links` in `slots` of its program slots. With `target` that BPF program
    is the function. `pointers` tells which arguments
    are addresses of cells. `arguments` has one value per argument slot
    (default: `default_arguments`). Raises `AttachError` where the kernel would refuse,
    `UnsupportedError` for what cannot be built.
    """

    def __init__(
        self,
        kernel: Kernel,
        prototype: Prototype,
        attachments: Sequence[Attachment] = (),
        *,
        arguments: Sequence[int | Cell] | None = None,
        target: TargetProgram | None = None,
    ) -> None:
        self.kernel = kernel
        self.prototype = prototype
        self.runtime = load_runtime(kernel)
        self.memory, (self.cpu, *_) = kernel_memory(self.runtime)
        self.machine = Machine(kernel)
        self.machine.add_symbols(self.runtime.symbols)
        for region in self.runtime.regions:
            self.machine.place(region.address, region.data, READ | EXECUTE, region.name)
        self._target_program = target
        self.target = self._place_target() if target is None else self._place_program(target)
        self.maps: dict[str, PlacedMap] = {}
        self.programs: tuple[GuestProgram, ...] = ()
        self.image: Image | None = None
        self.entry: Entry | None = None
        self.links = self.slots = 0
        if attachments:
            self._load(attachments)
            self._attach()
        chosen = default_arguments(prototype) if arguments is None else tuple(arguments)
        self.pointers = tuple(isinstance(argument, Cell) for argument in chosen)
        self.arguments = self._arguments(chosen)
        for region in self.memory.regions():
            self.machine.place(region.address, region.data, READ | WRITE)
        self.loop = build_loop(self.machine, self.target.address, self._placed())
        self._set_registers()

    def _place_target(self) -> Target:
        """At the function's place in the kernel's text if it has one, else outside of it."""
        layout = self.runtime.structs
        known = layout.text.get(self.prototype.name)
        return place_target(
            self.machine, self.prototype, layout.stext + known[0] if known else None
        )

    def _place_program(self, target: TargetProgram) -> Target:
        """A BPF program as traced function; the JIT made its entry patchable."""
        for declared, at in target.maps:
            add_map(self.memory, declared, at)
        address = self.machine.allocate(self.machine.addresses.jit, 0) + _HEADER
        code = compile_program(self._jit(), target.loaded, [address]).code
        self._place_code(address, code, target.loaded.name)
        pad = self.kernel.ibt if self.kernel.arch is Arch.X86_64 else self.kernel.bti
        site = address + (4 if pad else 0)
        if self.kernel.arch is Arch.X86_64:
            return Target(address, site, site + 5)
        return Target(address, site + 4, site + 8)

    def _jit(self) -> JitEnvironment:
        symbols = self.runtime.symbols
        accounted = frozenset(symbols[name] for name in self.runtime.accounted)
        return JitEnvironment(self.kernel, symbols, accounted=accounted)

    def _load(self, attachments: Sequence[Attachment]) -> None:
        """Maps and programs of all attachments; every attachment is a program of its own."""
        for attachment in attachments:
            for declared in attachment.program.maps:
                self._add_map(declared)
        symbols = self.runtime.symbols
        verifier = FixupEnvironment(
            self.kernel, symbols, {name: m.address for name, m in self.maps.items()}
        )
        jit = self._jit()
        self.programs = tuple(self._load_one(a, verifier, jit) for a in attachments)

    def _add_map(self, declared: Map) -> None:
        present = self.maps.get(declared.name)
        if present is None:
            self.maps[declared.name] = add_map(self.memory, declared)
        elif present.map != declared:
            raise InputError(f"two programs declare map {declared.name!r} differently")

    def _load_one(
        self, attachment: Attachment, verifier: FixupEnvironment, jit: JitEnvironment
    ) -> GuestProgram:
        name = attachment.program.name
        loaded = fixup(attachment.program, verifier)
        address = self.machine.allocate(self.machine.addresses.jit, 0) + _HEADER
        code = compile_program(jit, loaded, [address]).code
        self._place_code(address, code, f"bpf_prog_{name}")
        p = add_program(self.memory, address, name=name)
        return GuestProgram(p, address, code, loaded, attachment)

    def _place_code(self, address: int, code: bytes, name: str) -> None:
        area = self.machine.addresses.jit
        start = self.machine.allocate(area, address % area.align + len(code))
        if start != address - address % area.align:
            raise InputError(f"{name} was compiled for {address:#x}, where there is no room")
        self.machine.place(address, code, area.permissions, name)
        self.machine.add_symbols({name: address})

    def _attach(self) -> None:
        """The trampoline of all programs: its image, and the function's entry patched to it."""
        address = self.machine.allocate(self.machine.addresses.jit, 0)
        im = add_trampoline_image(self.memory, address, 0)

        def build(trampoline: Trampoline) -> Image:
            return build_trampoline(
                TrampolineRequest(
                    kernel=self.kernel,
                    prototype=self.prototype,
                    flags=trampoline.flags,
                    image=address,
                    im=im.im,
                    func_addr=self.target.address,
                    symbols=self.runtime.symbols,
                    fentry=trampoline.fentry,
                    fmod_ret=trampoline.fmod_ret,
                    fexit=trampoline.fexit,
                    func_has_endbr=self.kernel.arch is Arch.X86_64 and self.kernel.ibt,
                    padded=self.runtime.accounted,
                )
            )

        target = self._target_program
        tail_calls = target is not None and target.loaded.functions[0].tail_call_reachable
        trampoline = Trampoline(self.kernel, self.prototype, lambda t: build(t).size, tail_calls)
        for program in self.programs:
            trampoline.attach(Link(_node(program), program.loaded.uses_func_ip))
        self.links, self.slots = len(trampoline.links), trampoline.count
        self.image = build(trampoline)
        self.memory.put_member(im.im, "bpf_tramp_image.size", self.image.size, 4)
        self._place_code(address, self.image.code, "bpf_trampoline")
        self.entry = self._entry_to(address, trampoline.flags)
        ops = add_ftrace_ops(self.memory, address) if self.entry is Entry.FTRACE else 0
        patch_entry(self.machine, self.target, self.entry, address, ops)

    def _entry_to(self, image: int, flags: TrampFlag) -> Entry:
        """How the patched entry reaches the image.

        x86_64 (since jmp entries exist): by jmp if the image calls the original and skips no
        frame. arm64: by bl if the image is in reach, unless the kernel says otherwise.
        """
        if self.kernel.arch is Arch.X86_64:
            jumps = flags & TrampFlag.CALL_ORIG and not flags & TrampFlag.SKIP_FRAME
            return Entry.JMP if jumps else Entry.CALL
        near = abs(image - self.target.site) < _BRANCH_RANGE
        return self.kernel.entry or (Entry.BL if near else Entry.FTRACE)

    def _arguments(self, arguments: Sequence[int | Cell]) -> tuple[int, ...]:
        values = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, Cell):
                address = self.memory.kmalloc(argument.size, f"argument {number}")
                self.memory.put(address, argument.value, min(argument.size, 8))
                values.append(address)
            else:
                values.append(argument & (1 << 64) - 1)
        return tuple(values)

    def _placed(self) -> list[tuple[Passing, int]]:
        slots = place_arguments(self.prototype.arguments, self.kernel.arch).slots
        if len(self.arguments) != len(slots):
            raise InputError(
                f"{self.prototype.name} takes {len(slots)} argument slots, "
                f"{len(self.arguments)} values are given"
            )
        return list(zip(slots, self.arguments, strict=True))

    def _set_registers(self) -> None:
        engine, cpu = self.machine.engine, self.cpu
        engine.set_clock_rate(COUNTER_HZ[self.kernel.arch], _INSTRUCTIONS_PER_SECOND)
        if self.kernel.arch is Arch.X86_64:
            engine.set_register("gs_base", cpu.percpu_offset)
            engine.set_register("rflags", _INTERRUPTS_ENABLED)
        else:
            engine.set_register("tpidr_el1", cpu.percpu_offset)
            engine.set_register("sp_el0", cpu.task)

    def run(self, calls: int = 1, *, trace: bool = True, watch: Iterable[int] = ()) -> Execution:
        """Call the function `calls` times; state (maps, clocks) carries over between runs.

        Raises `GuestFault` if the guest goes astray or breaks the calling convention.
        """
        placed = self._placed()
        prepare_stack(self.machine, placed, self.cpu.stack_top)
        watched = {self.target.body, *watch}
        execution = run_calls(self.machine, self.loop, calls, trace=trace, watch=watched)
        broken = check_arguments(self.kernel.arch, self.target.body, placed, execution.snapshots)
        if broken:
            raise GuestFault(f"calling convention broken: {broken[0]}")
        return execution

    def array(self, name: str) -> list[bytes]:
        """Values of an array map, of a per-CPU array those of this CPU."""
        placed = self._map(name)
        return list(array_values(placed, self.machine.read, 0 if placed.percpu else None))

    def hash(self, name: str) -> dict[bytes, bytes]:
        """Entries of a hash map; of a per-CPU hash this CPU's values."""
        placed = self._map(name)
        cpu = 0 if placed.percpu else None
        return dict(hash_entries(placed, self.memory, self.machine.read, cpu))

    def _map(self, name: str) -> PlacedMap:
        try:
            return self.maps[name]
        except KeyError:
            known = ", ".join(self.maps) or "none"
            raise InputError(f"no program declares a map {name!r}; there are: {known}") from None


def _node(program: GuestProgram) -> Node:
    loaded = program.loaded
    return Node(
        program.p,
        program.address,
        loaded.kind,
        program.attachment.cookie,
        loaded.uses_session_cookie,
        loaded.sleepable,
        name=loaded.name,
    )
