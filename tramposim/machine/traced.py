"""Traced functions in a guest kernel: what is attached to them, ready to be called.

Everything that a booted kernel would hold is built from values: programs through the
verifier's rewriting and the JIT, the trampoline image, the patched entry, and a loop that
calls the function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tramposim.bpf.loaded import LoadedProgram
from tramposim.errors import GuestFault, InputError
from tramposim.jit.trampoline import TrampolineRequest, build_trampoline
from tramposim.kernel.attach import Link, Trampoline
from tramposim.kernel.image import Image
from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.kernel.prototype import Passing, place_arguments
from tramposim.machine.abi import check_arguments
from tramposim.machine.addresses import AddressMap
from tramposim.machine.caller import CallingLoop, build_loop, prepare_stack
from tramposim.machine.execution import BUDGET_PER_CALL, Execution, run_calls
from tramposim.machine.guestkernel import GuestKernel, GuestProgram
from tramposim.machine.kerneldata import add_ftrace_ops, add_trampoline_image
from tramposim.machine.target import Target, patch_entry, place_target
from tramposim.spec import Arch, Attachment, Entry, Kernel, Map, Prototype

__all__ = ["Cell", "TargetProgram", "TracedFunction", "TracedWorld", "default_arguments"]

_BRANCH_RANGE = 128 << 20
"""Reach of an arm64 `bl`, either way."""


@dataclass(frozen=True, slots=True)
class Cell:
    """An argument that is the address of `size` bytes: `data`, then zeros.

    `value` is put over the first bytes (little-endian).
    """

    size: int
    value: int = 0
    data: bytes = b""

    @property
    def content(self) -> bytes:
        """All bytes as they are before the call."""
        first = self.value.to_bytes(min(self.size, 8), "little") if self.value else b""
        return (first + self.data[len(first) :]).ljust(self.size, b"\0")


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


class TracedFunction:
    """A function in a guest kernel with programs attached in the given order.

    `links` are (program, BPF cookie of the link); `programs` are these programs. Without links the
    function is untraced; otherwise `image` is its trampoline, built from `request` and reached
    by `entry`, with `links` links in `slots` program slots. `arguments` has one value per
    argument slot (default: `default_arguments`); `pointers` tells which of them are addresses of
    cells. With `returns` the function does nothing but return that value. With `target` a BPF
    program is the function. Raises `AttachError` where the kernel would refuse.
    """

    def __init__(
        self,
        guest: GuestKernel,
        prototype: Prototype,
        links: Sequence[tuple[GuestProgram, int]] = (),
        *,
        arguments: Sequence[int | Cell] | None = None,
        returns: int | None = None,
        target: TargetProgram | None = None,
    ) -> None:
        self.guest = guest
        self.prototype = prototype
        self.programs = tuple(program for program, _ in links)
        self._returns = returns
        self._target_program = target
        self.target = self._place_target() if target is None else self._place_program(target)
        self.image: Image | None = None
        self.request: TrampolineRequest | None = None
        self.entry: Entry | None = None
        self.links = self.slots = 0
        if links:
            self._attach(links)
        chosen = default_arguments(prototype) if arguments is None else tuple(arguments)
        self.pointers = tuple(isinstance(argument, Cell) for argument in chosen)
        self.arguments = self._values(chosen)
        self._placed = self._places()
        self._loop: CallingLoop | None = None

    def _place_target(self) -> Target:
        """At the function's place in the kernel's text if it has one and fits, else outside."""
        layout = self.guest.runtime.structs
        known = layout.text.get(self.prototype.name)
        if known is None:
            return place_target(self.guest.machine, self.prototype, returns=self._returns)
        offset, size = known
        start = self.guest.runtime.symbols.get("_stext", layout.stext) + offset
        return place_target(self.guest.machine, self.prototype, start, size, self._returns)

    def _place_program(self, target: TargetProgram) -> Target:
        """A BPF program as traced function; the JIT made its entry patchable."""
        for declared, at in target.maps:
            self.guest.add_map(declared, at)
        address = self.guest.load_rewritten(target.loaded).address
        kernel = self.guest.kernel
        if kernel.arch is Arch.X86_64:
            site = address + (4 if kernel.ibt else 0)
            return Target(address, site, site + 5)
        site = address + (8 if kernel.bti else 4)
        return Target(address, site, site + 4)

    def _attach(self, links: Sequence[tuple[GuestProgram, int]]) -> None:
        """The trampoline of all programs: its image, and the function's entry patched to it."""
        guest, kernel = self.guest, self.guest.kernel
        address = guest.next_code_address()
        im = add_trampoline_image(guest.memory, address, 0)

        def request(trampoline: Trampoline) -> TrampolineRequest:
            return TrampolineRequest(
                kernel=kernel,
                prototype=self.prototype,
                flags=trampoline.flags,
                image=address,
                im=im.im,
                func_addr=self.target.address,
                symbols=guest.runtime.symbols,
                fentry=trampoline.fentry,
                fmod_ret=trampoline.fmod_ret,
                fexit=trampoline.fexit,
                func_has_endbr=kernel.arch is Arch.X86_64 and kernel.ibt,
                padded=guest.runtime.accounted,
            )

        target = self._target_program
        tail_calls = target is not None and target.loaded.functions[0].tail_call_reachable
        trampoline = Trampoline(
            kernel, self.prototype, lambda t: build_trampoline(request(t)).size, tail_calls
        )
        for program, cookie in links:
            trampoline.attach(Link(_node(program, cookie), program.loaded.uses_func_ip))
        self.links, self.slots = len(trampoline.links), trampoline.count
        self.request = request(trampoline)
        self.image = build_trampoline(self.request)
        guest.memory.put_member(im.im, "bpf_tramp_image.size", self.image.size, 4)
        guest.place_code(address, self.image.code, f"bpf_trampoline_{self.prototype.name}")
        self.entry = self._entry_to(address, trampoline.flags)
        ops = add_ftrace_ops(guest.memory, address) if self.entry is Entry.FTRACE else 0
        patch_entry(guest.machine, self.target, self.entry, address, ops)

    def _entry_to(self, image: int, flags: TrampFlag) -> Entry:
        """How the patched entry reaches the image.

        x86_64 (since jmp entries exist): by jmp if the image calls the original and skips no
        frame. arm64: by bl if the image is in reach, unless the kernel says otherwise.
        """
        kernel = self.guest.kernel
        if kernel.arch is Arch.X86_64:
            jumps = flags & TrampFlag.CALL_ORIG and not flags & TrampFlag.SKIP_FRAME
            return Entry.JMP if jumps else Entry.CALL
        if kernel.entry is not None and self._target_program is None:
            return kernel.entry
        near = abs(image - self.target.site) < _BRANCH_RANGE
        return Entry.BL if near else Entry.FTRACE

    def _values(self, arguments: Sequence[int | Cell]) -> tuple[int, ...]:
        memory = self.guest.memory
        values = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, Cell):
                address = memory.kmalloc(argument.size, f"argument {number}")
                memory.write(address, argument.content)
                values.append(address)
            else:
                values.append(argument & (1 << 64) - 1)
        return tuple(values)

    def _places(self) -> list[tuple[Passing, int]]:
        slots = place_arguments(self.prototype.arguments, self.guest.kernel.arch).slots
        if len(self.arguments) != len(slots):
            raise InputError(
                f"{self.prototype.name} takes {len(slots)} argument slots, "
                f"{len(self.arguments)} values are given"
            )
        return list(zip(slots, self.arguments, strict=True))

    def prepare(self) -> CallingLoop:
        """The loop that calls the function, with memory and registers ready to enter it."""
        guest = self.guest
        guest.commit()
        if self._loop is None:
            self._loop = build_loop(guest.machine, self.target.address, self._placed)
        prepare_stack(guest.machine, self._placed, guest.cpu.stack_top)
        return self._loop

    @property
    def program_ends(self) -> dict[int, tuple[str, str]]:
        """By address in the image where a program has returned: the list (`fentry`,
        `fmod_ret`, `fexit`) that it was called from, and its name."""
        if self.image is None:
            return {}
        ends = {}
        for part in self.image.parts:
            word, _, place = part.name.partition(" ")
            if word == "body":
                name = part.detail
                ends[self.image.address + part.end] = place.partition("[")[0], name
        return ends

    def run(
        self,
        calls: int = 1,
        *,
        trace: bool = True,
        watch: Iterable[int] = (),
        budget: int = BUDGET_PER_CALL,
    ) -> Execution:
        """Call the function `calls` times; state (maps, clocks) carries over between runs.

        `budget` is the most instructions of one call.

        Raises `GuestFault` if the guest goes astray or breaks the calling convention.
        """
        guest = self.guest
        loop = self.prepare()
        watched = {self.target.body, *watch}
        execution = run_calls(guest.machine, loop, calls, trace=trace, watch=watched, budget=budget)
        arch, body = guest.kernel.arch, self.target.body
        broken = check_arguments(arch, body, self._placed, execution.snapshots)
        if broken:
            raise GuestFault(f"calling convention broken: {broken[0]}")
        return execution


class TracedWorld(TracedFunction):
    """A kernel with one function of `prototype` and programs attached in the given order.

    Every attachment is a program of its own. Otherwise as `TracedFunction`;
    `UnsupportedError` is raised for what cannot be built.
    """

    def __init__(
        self,
        kernel: Kernel,
        prototype: Prototype,
        attachments: Sequence[Attachment] = (),
        *,
        arguments: Sequence[int | Cell] | None = None,
        target: TargetProgram | None = None,
        addresses: AddressMap | None = None,
    ) -> None:
        guest = GuestKernel(kernel, addresses)
        links = [(guest.load(each.program), each.cookie) for each in attachments]
        super().__init__(guest, prototype, links, arguments=arguments, target=target)

    def array(self, name: str) -> list[bytes]:
        """Values of an array map, of a per-CPU array those of this CPU."""
        return self.guest.array(name)

    def hash(self, name: str) -> dict[bytes, bytes]:
        """Entries of a hash map; of a per-CPU hash this CPU's values."""
        return self.guest.hash(name)


def _node(program: GuestProgram, cookie: int) -> Node:
    loaded = program.loaded
    return Node(
        program.p,
        program.address,
        loaded.kind,
        cookie,
        loaded.uses_session_cookie,
        loaded.sleepable,
        name=loaded.name,
    )
