"""Calls of a subject with the stages that every executed instruction passed on a core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.machine.trace import Trace
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Attachment
from tramposim.study.bodies import programs_of
from tramposim.study.measure import TRACED_CALLS, WARM_CALLS
from tramposim.study.parts import Places
from tramposim.study.subject import Subject, check_loads
from tramposim.timing import Core, Timing, time_trace
from tramposim.timing.prepare import PreparedTrace, prepare

__all__ = ["StagedCalls", "staged_calls"]


@dataclass(frozen=True, slots=True)
class StagedCalls:
    """The trace of a subject's calls, its timing with recordings, where its addresses belong."""

    subject: Subject
    core: Core
    trace: Trace
    prepared: PreparedTrace
    timing: Timing
    places: Places

    @property
    def stages(self) -> NDArray[np.void]:
        """When the instructions of the whole calls passed the stages: of one pass, the fastest
        recorded, or of calls that each begin in a starting state, one after the other."""
        recordings = self.timing.recordings
        if self.timing.state == "hot":
            fastest = next(one for one in recordings if one.fast)
            return fastest.stages[: fastest.marks[self.trace.call_count]]
        parts, start = [], 0
        for one in recordings:
            part = one.stages.copy()
            for name in ("delivered", "renamed", "issued", "executed", "retired"):
                part[name] += np.where(part[name] < 0, 0, start)
            parts.append(part)
            start += one.cycles
        return np.concatenate(parts)

    def parts(self, number: int) -> list[tuple[str, str, int]]:
        """(part, program, bytes) of each executed instruction of a call."""
        begin, end = int(self.trace.calls[number]), int(self.trace.calls[number + 1])
        return list(self.places.walk(int(pc) for pc in self.trace.pcs[begin:end]))


def staged_calls(subject: Subject, core: Core) -> StagedCalls:
    """Execute the subject and time it with stages, in its starting state.

    Raises what `measure` raises.
    """
    check_loads(subject.kernel, subject.prototype, subject.scenario)
    programs = programs_of(subject.scenario, subject.body)
    world = TracedWorld(
        subject.kernel, subject.prototype, tuple(Attachment(program) for program in programs)
    )
    world.run(WARM_CALLS, trace=False)
    trace = world.run(TRACED_CALLS).trace
    assert trace is not None
    timing = time_trace(trace, core, subject.state, record=True)
    places = Places(world.image, world.target, trace.regions)
    return StagedCalls(subject, core, trace, prepare(trace, core), timing, places)
