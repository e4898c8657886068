"""One measurement: build the subject's world, execute calls, time the trace on a core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tramposim.kernel.image import Image
from tramposim.machine.disassembly import disassemble
from tramposim.machine.guestkernel import GuestKernel
from tramposim.machine.target import Target
from tramposim.machine.trace import Trace
from tramposim.machine.traced import TracedFunction
from tramposim.spec import Program
from tramposim.study.bodies import programs_of
from tramposim.study.call import FunctionCall
from tramposim.study.costs import (
    NO_COSTS,
    StatedCost,
    add_stated_helpers,
    load_program,
    stated_costs,
)
from tramposim.study.records import Value
from tramposim.study.subject import Subject, check_loads
from tramposim.timing import Core, Timing, time_trace
from tramposim.timing.prepare import prepare

__all__ = [
    "Attached",
    "ExecutedCalls",
    "Measurement",
    "attach_programs",
    "execute",
    "execute_programs",
    "execute_world",
    "measure",
    "relative_cycles",
    "settle",
]

WARM_CALLS = 4
"""Calls executed before the trace: maps hold their entries, free lists have settled."""

TRACED_CALLS = 16
"""Most calls in the trace; the core model repeats them until its state repeats."""


@dataclass(frozen=True, slots=True)
class Attached:
    """What a subject's programs take in the kernel: the image, how it is entered, sizes, limits.

    `image` and `entry` are None for an untraced function; `stated` are what helpers without
    code were stated to cost.
    """

    image: Image | None
    entry: str | None
    programs: int
    program_bytes: int
    links: int
    slots: int
    stated: tuple[StatedCost, ...]

    @property
    def image_instructions(self) -> int:
        """Instructions of the image, what follows its return (int3) included."""
        if self.image is None:
            return 0
        return sum(1 for _ in disassemble(self.image.arch, self.image.code, self.image.address))

    @property
    def stated_cycles_per_call(self) -> float:
        """Stated cycles of all helpers in a call."""
        return sum(cost.cycles_per_call for cost in self.stated)

    @property
    def stated_record(self) -> dict[str, Value]:
        """The fields of a row that tell which helpers have a stated cost; empty if none has."""
        if not self.stated:
            return {}
        return {
            "stated_costs": ", ".join(cost.text for cost in self.stated),
            "stated_cycles_per_call": round(self.stated_cycles_per_call, 2),
        }


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a subject costs per call on one core, and what it takes in the kernel."""

    subject: Subject
    core: Core
    timing: Timing
    attached: Attached
    cold: Timing | None = None

    @property
    def cycles_per_call(self) -> float:
        """Core cycles from one call of the traced function to the next, loop included.

        What helpers were stated to cost is added to what was executed.
        """
        return self.timing.cycles_per_call + self.attached.stated_cycles_per_call

    @property
    def cold_cycles_per_call(self) -> float | None:
        """Core cycles of a call that finds all its lines in memory, if timed."""
        if self.cold is None:
            return None
        return self.cold.cycles_per_call + self.attached.stated_cycles_per_call

    def record(
        self, untraced: Measurement | None = None, pair: Measurement | None = None
    ) -> Mapping[str, Value]:
        """The measurement as a row of a record.

        `untraced` and `pair` are the untraced function and the fentry+fexit pair with the same
        kind of body; what depends on one that is not given is absent.
        """
        kernel, attached = self.subject.kernel, self.attached
        row: dict[str, Value] = {
            "arch": kernel.arch.value,
            "core": self.core.name,
            "core_error": self.core.error,
            "kernel": kernel.version,
            "returns": kernel.returns.value,
            "scenario": self.subject.scenario.word,
            "body": self.subject.body,
            "state": self.subject.state,
            "cycles_per_call": round(self.cycles_per_call, 2),
        }
        if self.timing.cycles_high > self.timing.cycles_low:
            stated = attached.stated_cycles_per_call
            row["cycles_low"] = round(self.timing.cycles_low + stated, 2)
            row["cycles_high"] = round(self.timing.cycles_high + stated, 2)
        if attached.entry is not None:
            row["entry"] = attached.entry
        row |= self._relative("", untraced, pair, lambda found: found.cycles_per_call)
        if self.cold_cycles_per_call is not None:
            row["cycles_per_call_cold"] = round(self.cold_cycles_per_call, 2)
            row |= self._relative("_cold", untraced, pair, lambda f: f.cold_cycles_per_call)
        row["instructions_per_call"] = round(self.timing.instructions_per_call, 2)
        row["uops_per_call"] = round(self.timing.uops_per_call, 2)
        if attached.image is not None:
            row["image_bytes"] = len(attached.image.code)
            row["image_instructions"] = attached.image_instructions
            row["program_bytes"] = attached.program_bytes
        row["programs"] = attached.programs
        row["links"] = attached.links
        row["slots"] = attached.slots
        row |= self._touched()
        row |= attached.stated_record
        return row

    def _relative(
        self,
        suffix: str,
        untraced: Measurement | None,
        pair: Measurement | None,
        cycles: Callable[[Measurement], float | None],
    ) -> dict[str, Value]:
        """Cycles over the untraced call, and that relative to the pair's."""
        mine, base, other = (
            cycles(found) if found is not None else None for found in (self, untraced, pair)
        )
        if mine is None or base is None:
            return {}
        return relative_cycles(
            mine, base, other if self.attached.image is not None else None, suffix
        )

    def _touched(self) -> dict[str, Value]:
        """Distinct lines, pages and taken branches of a call, means over the traced calls."""
        prints = (self.cold or self.timing).footprints
        kinds = ("code_lines", "data_lines", "code_pages", "data_pages", "branches")
        return {
            kind: round(sum(len(getattr(each, kind)) for each in prints) / len(prints), 2)
            for kind in kinds
            if prints
        }


def relative_cycles(
    cycles: float, untraced: float, pair: float | None, suffix: str = ""
) -> dict[str, Value]:
    """The fields of a row that set a call's cycles against the untraced call's and the pair's."""
    row: dict[str, Value] = {f"cycles_over_untraced{suffix}": round(cycles - untraced, 2)}
    if pair is not None:
        row[f"over_pair_ratio{suffix}"] = round((cycles - untraced) / (pair - untraced), 3)
    return row


@dataclass(frozen=True, slots=True)
class ExecutedCalls:
    """Calls of a subject that were executed, to be timed on any core of its architecture."""

    subject: Subject
    trace: Trace
    target: Target
    attached: Attached

    def timed(self, core: Core, state: str | None = None) -> Measurement:
        """The calls on `core`, in the subject's starting state or another one.

        Raises what timing raises.
        """
        subject = self.subject if state is None else replace(self.subject, state=state)
        prepared = prepare(self.trace, core)
        return Measurement(
            subject=subject,
            core=core,
            timing=time_trace(self.trace, core, subject.state, prepared=prepared),
            attached=self.attached,
            cold=time_trace(self.trace, core, "cold", prepared=prepared) if subject.cold else None,
        )


def measure(subject: Subject, core: Core, function: FunctionCall | None = None) -> Measurement:
    """Execute the subject and time it on `core`; `function` says how it is called.

    Raises `AttachError` where the kernel would refuse the scenario, `UnsupportedError` for
    what tramposim does not know, `GuestFault` if the executed code goes astray.
    """
    return execute(subject, function).timed(core)


def execute(subject: Subject, function: FunctionCall | None = None) -> ExecutedCalls:
    """Execute calls of the subject; raises what `measure` raises, except for timing."""
    check_loads(subject.kernel, subject.prototype, subject.scenario)
    programs = programs_of(subject.scenario, subject.body)
    return execute_programs(subject, programs, function)


def execute_programs(
    subject: Subject,
    programs: Sequence[Program],
    function: FunctionCall | None = None,
    costs: Mapping[str, float] = NO_COSTS,
) -> ExecutedCalls:
    """The same with any programs, attached in order; the subject's scenario and body name them.

    `costs` are stated cycles of helpers (by name) that the host executes instead of guest
    code.
    """
    return execute_world(subject, attach_programs(subject, programs, function, costs), costs)


def execute_world(
    subject: Subject, world: TracedFunction, costs: Mapping[str, float] = NO_COSTS
) -> ExecutedCalls:
    """The same in a kernel that `attach_programs` made for the subject."""
    guest = world.guest
    calls = settle(world)
    if guest.hypercalls is not None:
        guest.hypercalls.counts.clear()
    execution = world.run(calls)
    assert execution.trace is not None
    attached = Attached(
        image=world.image,
        entry=world.entry,
        programs=len(world.programs),
        program_bytes=sum(len(program.code) for program in world.programs),
        links=world.links,
        slots=world.slots,
        stated=stated_costs(guest, costs, calls),
    )
    return ExecutedCalls(subject, execution.trace, world.target, attached)


def attach_programs(
    subject: Subject,
    programs: Sequence[Program],
    function: FunctionCall | None = None,
    costs: Mapping[str, float] = NO_COSTS,
) -> TracedFunction:
    """The subject's function in a kernel of its own with the programs attached, not yet called.

    Raises what `execute_programs` raises.
    """
    guest = GuestKernel(subject.kernel)
    add_stated_helpers(guest, costs)
    return TracedFunction(
        guest,
        subject.prototype,
        [(load_program(guest, program), 0) for program in programs],
        arguments=function.arguments if function else None,
        returns=function.returns if function else None,
    )


def settle(world: TracedFunction) -> int:
    """Call until maps and free lists have settled; how many calls may be traced at once.

    Readers take what programs put into ring and perf buffers: those must hold the records of
    all traced calls.
    """
    guest, calls = world.guest, TRACED_CALLS
    if not guest.empty_outputs():
        world.run(WARM_CALLS, trace=False)
        return calls
    for _ in range(WARM_CALLS):
        world.run(1, trace=False)
        for filled in guest.empty_outputs().values():
            if filled.waiting:
                calls = min(calls, max(1, (filled.size - 1) // filled.waiting))
    return calls
