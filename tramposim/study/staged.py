"""Calls of a subject with the stages that every executed instruction passed on a core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.machine.trace import Trace
from tramposim.study.measure import ExecutedCalls, execute
from tramposim.study.parts import Places
from tramposim.study.subject import Subject
from tramposim.timing import Core, Timing, time_trace
from tramposim.timing.prepare import PreparedTrace, prepare

__all__ = ["StagedCalls", "stage", "staged_calls"]


@dataclass(frozen=True, slots=True)
class StagedCalls:
    """The trace of a subject's calls, its timing with recordings, where its addresses belong."""

    executed: ExecutedCalls
    core: Core
    prepared: PreparedTrace
    timing: Timing
    places: Places

    @property
    def subject(self) -> Subject:
        """What was executed."""
        return self.executed.subject

    @property
    def trace(self) -> Trace:
        """The executed calls."""
        return self.executed.trace

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
    return stage(execute(subject), core)


def stage(executed: ExecutedCalls, core: Core) -> StagedCalls:
    """Calls that were executed, with stages; raises what timing raises."""
    trace = executed.trace
    timing = time_trace(trace, core, executed.subject.state, record=True)
    places = Places(executed.attached.image, executed.target, trace.regions)
    return StagedCalls(executed, core, prepare(trace, core), timing, places)
