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

__all__ = ["StagedCalls", "staged_calls"]


@dataclass(frozen=True, slots=True)
class StagedCalls:
    """The trace of a subject's calls, its timing, and where its addresses belong.

    `stages` (dtype `timing.STAGES`) are those of the trace's whole calls, in a steady state.
    """

    subject: Subject
    core: Core
    trace: Trace
    timing: Timing
    stages: NDArray[np.void]
    places: Places


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
    assert timing.stages is not None
    places = Places(world.image, world.target, trace.regions)
    return StagedCalls(subject, core, trace, timing, timing.stages, places)
