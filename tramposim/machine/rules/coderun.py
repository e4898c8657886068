"""One run of compiled code alone on the probe, with every call out of it recorded.

Memory is there wherever the code looks; called functions change all that they may and return
what the inputs say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from tramposim.bpf.insn import Reg
from tramposim.machine.rules.compiled import GS_BASE, PERCPU_ARM64, TASK_ARM64, CompiledProgram
from tramposim.machine.rules.inputs import Inputs, Pages
from tramposim.machine.rules.listing import Flow
from tramposim.machine.rules.parting import Differs
from tramposim.machine.rules.probe import PAGE, STACK_SIZE, Departure, Probe
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.machine.rules.turn import Turn
from tramposim.spec import Arch

__all__ = ["CALLER", "EXECUTED", "MOST_EACH", "CodeRun", "Event", "Stopped", "canonical"]

CALLER = 0xFFFFFFFF81234560
"""Where the program is called from."""
EXECUTED = 120_000
"""Instructions that a run may take."""
MOST_EACH = 20
"""No eBPF instruction takes more of the machine's."""
_MAX_CALLS = 400
_MAX_PAGES = 512
_MAX_FRAMES = 20
_BELOW = 1 << 16
_DEPTH = 0x7FFF_FF00_0000_0000
_MASK = (1 << 64) - 1
_PHYSICAL = {Arch.X86_64: (1 << 52) - 1, Arch.ARM64: _MASK}


class Stopped(Enum):
    """Why a run was stopped before its end: too many instructions, or something else that
    tells nothing of the code."""

    BUDGET = "budget"
    EARLY = "early"


@dataclass(slots=True)
class Event:
    """A call out of the code: to where, with which registers and memory, and in which of the
    probe's segments it came last."""

    site: int
    target: int
    registers: dict[int, int]
    pages: dict[int, bytes]
    stack: NDArray[np.uint8]
    segment: int


class CodeRun:
    """Runs the code of `program` on `inputs`; `execute` once, then all else can be asked.

    `turns` are where registers change, `doors` the segments that ended there. `mask` are the
    address bits that tell places apart, `noise` the stack's contents before. `events` are the
    calls, `mapped` the pages touched, `returns` the sites at which functions of the program
    return by a return thunk, `wild` whether an address was not canonical (x86_64), `stopped`
    why `execute` returned None.
    """

    def __init__(
        self,
        program: CompiledProgram,
        probe: Probe,
        inputs: Inputs,
        turns: tuple[Turn, ...] = (),
    ) -> None:
        self.program = program
        self.probe = probe
        self.inputs = inputs
        self.turns = turns
        self.mask = _PHYSICAL[program.arch]
        self.memory = Pages(inputs, self.mask)
        self.events: list[Event] = []
        self.violations: list[Violation] = []
        self.returns: set[int] = set()
        self.doors: list[int] = []
        self.entry: dict[str, int] = {}
        self.noise = b""
        self.wild = False
        self.stopped: Stopped | None = None
        self.mapped: list[int] = []
        self._counted = 0

    @property
    def path(self) -> str:
        """What a violation tells of the inputs."""
        return "; ".join((f"inputs of seed {self.inputs.seed}", *map(str, self.turns)))

    @property
    def percpu(self) -> int:
        """The per-CPU offset of the CPU that the code runs on."""
        program = self.program
        if program.percpu_at:
            return self.memory.load(program.percpu_at, 8)
        return program.target.percpu

    def found(self, rule: Rule, address: int, detail: str) -> None:
        """Note a violation at an instruction."""
        text = self.probe.listing.text(address)
        self.violations.append(Violation(rule, address, detail, text, self.path))

    def name(self, address: int) -> str:
        """An address, with the name of what lies there."""
        name = self.program.names.get(address)
        return f"{address:#x} ({name})" if name else f"{address:#x}"

    def execute(self) -> Departure | None:
        """Run to the end; None if it takes too long, or if values that no verifier would let
        through make the CPU fault (divisions by zero, atomics across a boundary). Raises
        `Differs` for what no code may do."""
        probe, program = self.probe, self.program
        self._start()
        pc, left = program.addresses[0], EXECUTED
        turns = list(reversed(self.turns))
        while True:
            departure = probe.go(pc, left, turns[-1].at if turns else 0)
            left -= len(probe.segments[-1].pcs)
            if turns and departure.reason == "hypercall":
                self._change(turns.pop())
                self.doors.append(len(probe.segments) - 1)
                pc = departure.target
                continue
            if departure.size:
                self._fault(departure)
                probe.forget_last()
                pc = departure.site
                continue
            if departure.reason in ("budget", "trace-full"):
                self.stopped = Stopped.BUDGET
                return None
            if departure.reason in ("exception", "halted") and self.turns:
                self.stopped = Stopped.EARLY
                return None
            if departure.problem:
                raise Differs(Rule.EXECUTION, departure.site, departure.problem)
            if departure.flow is not Flow.CALL:
                back = self._through_thunk(departure)
                if back is None:
                    return departure
                pc = back
                continue
            if len(self.events) == _MAX_CALLS:
                self.stopped = Stopped.EARLY
                return None
            pc = self._call(departure)
            if departure.target in program.target.noreturn:
                return departure

    def _change(self, turn: Turn) -> None:
        probe, names = self.probe, self.program.registers
        if turn.after:
            probe.set({name: probe.noise() for name in turn.free})
            probe.shake_flags()
        probe.set({names[number]: value for number, value in turn.values})

    def close(self) -> None:
        """Unmap the memory that the run was given."""
        self.probe.drop(self.mapped)

    def snapshot(self) -> dict[int, bytes]:
        """Contents of the pages that the code has touched."""
        read = self.probe.engine.read
        pages = {page & self.mask: read(page, PAGE) for page in self.mapped}
        depth = self.program.depth
        if depth:
            page = depth // PAGE * PAGE & self.mask
            content = bytearray(pages[page])
            offset = depth % PAGE
            content[offset : offset + 8] = self.memory.initial(page)[offset : offset + 8]
            pages[page] = bytes(content)
        return pages

    def stack(self) -> NDArray[np.uint8]:
        """The stack's contents."""
        content = self.probe.engine.read(self.probe.stack_base, STACK_SIZE)
        return np.frombuffer(content, np.uint8)

    def _start(self) -> None:
        probe, program = self.probe, self.program
        probe.follow = tuple(
            {*program.frames, *program.registers.values(), *(("x30",) if program.signed else ())}
        )
        self.entry = probe.reset()
        values = {probe.convention.arguments[0]: self.inputs.context}
        values[probe.convention.frame] = probe.stack_top + 512
        if program.arch is Arch.X86_64:
            values["rsp"] = probe.stack_top - 8
            values["gs_base"] = GS_BASE
            probe.write(probe.stack_top - 8, CALLER)
        else:
            values["x30"] = CALLER
            values["tpidr_el1"] = PERCPU_ARM64
            values["sp_el0"] = TASK_ARM64
        self.entry |= values
        probe.set(values)
        if program.depth:
            self._map(program.depth, 8)
            probe.write(program.depth, _DEPTH)
        self.noise = probe.engine.read(probe.stack_base, STACK_SIZE)

    def _through_thunk(self, departure: Departure) -> int | None:
        """Where a function of the program returns to by the return thunk, if into the program."""
        probe = self.probe
        if departure.target not in self.program.thunks:
            return None
        stack = probe.get(probe.convention.stack)
        if not probe.stack_base <= stack < probe.stack_top - 8:
            return None
        back = probe.read(stack)
        if back not in probe.listing.at:
            return None
        probe.set({probe.convention.stack: stack + 8})
        self.returns.add(departure.site)
        return back

    def _fault(self, departure: Departure) -> None:
        """Memory is wherever a program looks, but around the stack, in code and on top."""
        probe, address = self.probe, departure.address
        near = probe.stack_base - _BELOW <= address < probe.stack_base + STACK_SIZE + _BELOW
        if near or departure.reason.startswith("protected") or len(self.mapped) >= _MAX_PAGES:
            raise Differs(
                Rule.MEMORY, departure.site,
                f"{departure.problem}: {departure.size} bytes at {address:#x}",
            )  # fmt: skip
        if self.program.arch is Arch.X86_64:
            self.wild |= not canonical(probe.effective_address(departure.site, address))
        if not self._map(address, departure.size):
            raise Differs(Rule.MEMORY, departure.site, f"cannot access {address:#x}")

    def _map(self, address: int, size: int) -> bool:
        """Map the pages of an access; False if they are there already."""
        new = False
        for page in {address // PAGE * PAGE, (address + size - 1 & _MASK) // PAGE * PAGE}:
            if not self.probe.readable(page, 1):
                self.probe.add_memory(page, self.memory.initial(page))
                self.mapped.append(page)
                new = True
        return new

    def _call(self, departure: Departure) -> int:
        probe, program = self.probe, self.program
        convention = probe.convention
        noreturn = departure.target in program.target.noreturn
        if departure.back not in probe.listing.at and not noreturn:
            raise Differs(
                Rule.RETURN_ADDRESS, departure.site, f"calls to return to {departure.back:#x}"
            )
        stack = probe.get(convention.stack) + (0 if convention.link else 8)
        if stack % convention.alignment:
            self.found(
                Rule.STACK_ALIGNMENT, departure.site,
                f"calls with {convention.stack} {stack:#x}, no multiple of {convention.alignment}",
            )  # fmt: skip
        self._check_depth(departure)
        self._check_chain(departure)
        registers = {number: probe.get(name) for number, name in program.registers.items()}
        if len(set(program.frames)) > 1:
            del registers[Reg.FP]
        self.events.append(
            Event(
                departure.site, departure.target, registers, self.snapshot(), self.stack(),
                len(probe.segments) - 1,
            )
        )  # fmt: skip
        result = self.inputs.result(len(self.events) - 1)
        preserving = departure.target in program.target.preserving
        scratch = program.registers[program.target.scratch] if preserving else ""
        probe.callee_returns(result, scratch)
        return departure.back

    def _check_depth(self, departure: Departure) -> None:
        if not self.program.depth:
            return
        expected = self._calls_since() - (departure.target in self.program.accounted)
        value = self.probe.read(self.program.depth)
        if value != _DEPTH >> 5 * expected:
            self.found(
                Rule.CALL_DEPTH, departure.site,
                f"the call of {self.name(departure.target)} is not counted as it should be",
            )  # fmt: skip
        self.probe.write(self.program.depth, _DEPTH)

    def _calls_since(self) -> int:
        """Call instructions since the last event, that one's excluded, this one's included."""
        segments, flow, calls = self.probe.segments, self.probe.listing.flow, 0
        for number in range(self._counted, len(segments)):
            pcs = segments[number].pcs.tolist()
            if number in self.doors:
                # Where registers were changed the next instruction ends the segment.
                pcs.pop()
            calls += sum(flow(pc) is Flow.CALL for pc in pcs)
        self._counted = len(segments)
        return calls

    def _check_chain(self, departure: Departure) -> None:
        """From the frame pointer to the caller's frame, by (frame, return address) pairs."""
        probe = self.probe
        frame = probe.get(probe.convention.frame)
        end, back = self.entry[probe.convention.frame], 0
        for _ in range(_MAX_FRAMES):
            if frame == end or not probe.stack_base <= frame < probe.stack_top - 8 or frame % 8:
                break
            frame, back = probe.read(frame), probe.read(frame + 8)
        if frame != end or back != CALLER:
            self.found(
                Rule.FRAME_CHAIN, departure.site,
                f"at the call of {self.name(departure.target)} the frames lead to {frame:#x}"
                f" and return address {back:#x}, not to the caller's",
            )  # fmt: skip


def canonical(address: int) -> bool:
    """Whether x86_64 with five levels of page tables has such an address."""
    return address >> 56 in (0, 0xFF)
