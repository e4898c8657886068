"""One measurement: build the subject's world, execute calls, time the trace on a core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tramposim.kernel.image import Image
from tramposim.machine.disassembly import disassemble
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Attachment
from tramposim.study.bodies import programs_of
from tramposim.study.records import Value
from tramposim.study.subject import Subject, check_loads
from tramposim.timing import Core, Timing, time_trace

__all__ = ["Measurement", "measure"]

WARM_CALLS = 4
"""Calls executed before the trace: maps hold their entries, free lists have settled."""

TRACED_CALLS = 16
"""Calls in the trace; the core model repeats them until its state repeats."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a subject costs per call on one core, and what it takes in the kernel."""

    subject: Subject
    core: Core
    timing: Timing
    image: Image | None
    entry: str | None
    programs: int
    program_bytes: int
    links: int
    slots: int

    @property
    def image_instructions(self) -> int:
        """Instructions of the image, what follows its return (int3) included."""
        if self.image is None:
            return 0
        return sum(1 for _ in disassemble(self.image.arch, self.image.code, self.image.address))

    @property
    def cycles_per_call(self) -> float:
        """Core cycles from one call of the traced function to the next, loop included."""
        return self.timing.cycles_per_call

    def record(
        self, untraced: float | None = None, pair: float | None = None
    ) -> Mapping[str, Value]:
        """The measurement as a row of a record.

        `untraced` and `pair` are the cycles per call of the untraced function and of the
        fentry+fexit pair with the same kind of body; what depends on one that is not given
        is absent.
        """
        kernel = self.subject.kernel
        row: dict[str, Value] = {
            "arch": kernel.arch.value,
            "core": self.core.name,
            "core_error": self.core.error,
            "kernel": kernel.version,
            "returns": kernel.returns.value,
            "scenario": self.subject.scenario.word,
            "body": self.subject.body,
            "cycles_per_call": round(self.cycles_per_call, 2),
        }
        if self.entry is not None:
            row["entry"] = self.entry
        if untraced is not None:
            over = self.cycles_per_call - untraced
            row["cycles_over_untraced"] = round(over, 2)
            if pair is not None and self.image is not None:
                row["over_pair_ratio"] = round(over / (pair - untraced), 3)
        row["instructions_per_call"] = round(self.timing.instructions_per_call, 2)
        row["uops_per_call"] = round(self.timing.uops_per_call, 2)
        if self.image is not None:
            row["image_bytes"] = len(self.image.code)
            row["image_instructions"] = self.image_instructions
            row["program_bytes"] = self.program_bytes
        row["programs"] = self.programs
        row["links"] = self.links
        row["slots"] = self.slots
        return row


def measure(subject: Subject, core: Core) -> Measurement:
    """Execute the subject hot and time it on `core`.

    Raises `AttachError` where the kernel would refuse the scenario, `UnsupportedError` for
    what tramposim does not know, `GuestFault` if the executed code goes astray.
    """
    check_loads(subject.kernel, subject.prototype, subject.scenario)
    programs = programs_of(subject.scenario, subject.body)
    world = TracedWorld(
        subject.kernel, subject.prototype, tuple(Attachment(program) for program in programs)
    )
    world.run(WARM_CALLS, trace=False)
    execution = world.run(TRACED_CALLS)
    assert execution.trace is not None
    return Measurement(
        subject=subject,
        core=core,
        timing=time_trace(execution.trace, core),
        image=world.image,
        entry=world.entry,
        programs=len(programs),
        program_bytes=sum(len(program.code) for program in world.programs),
        links=world.links,
        slots=world.slots,
    )
