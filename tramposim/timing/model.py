"""Timing of a trace: repeat the recorded calls on a core until nothing changes any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tramposim._native.pipeline import EVENTS, Pipeline
from tramposim.machine.trace import Trace
from tramposim.timing.bottleneck import bottleneck_of, causes_of, holdups
from tramposim.timing.calls import CallTimer, TimedCall
from tramposim.timing.core import Core
from tramposim.timing.decode import parameters
from tramposim.timing.footprint import Footprint, footprint_of
from tramposim.timing.passes import Passes, Stretch, passes_of, period_of, settled
from tramposim.timing.prepare import PreparedTrace, prepare
from tramposim.timing.stages import Recording, record_calls
from tramposim.timing.states import apply_state, check_state

__all__ = ["Timing", "time_trace"]

_MAX_PASSES = 400
_TRAINING = 4000
"""Instructions after which predictors and memory renaming know the calls."""
_LOOK_AHEAD = 1500
"""Instructions after which nothing that was under way at a pass's end still is."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one call of a traced loop costs on a core, all values per call.

    `cycles_low` and `cycles_high` are the extremes of what repeated measurements find where that
    is not constant (equal to `cycles_per_call` otherwise): calls differ within the steady state,
    or the front end has two (see `time_trace`). `events` holds mean counts per call by the
    names of `EVENTS`. `shares` maps an instruction's address to the cycles per call that
    retirement waited for it; the values sum to `cycles_per_call`. So do those of `causes`, the
    cycles per call by what held execution up (see `timing.bottleneck`), if the state is hot.
    `steady` is false if no steady state was found; `cycles_per_call` is then the mean of the
    second half. `recordings`, if asked for, are of calls whose cycles have that mean: a period
    of each steady state, or each cold call.

    In a `state` other than hot the values are means over calls that each begin in it, from the
    first instruction of a call to its last; `events` also count the misses, `calls` are the
    single calls with theirs, `footprints` what each of them touches.
    """

    core: str
    cycles_per_call: float
    cycles_low: float
    cycles_high: float
    instructions_per_call: float
    uops_per_call: float
    events: Mapping[str, float]
    shares: Mapping[int, float] = field(default_factory=dict, repr=False)
    causes: Mapping[str, float] = field(default_factory=dict, repr=False)
    steady: bool = True
    recordings: tuple[Recording, ...] = field(default=(), repr=False)
    state: str = "hot"
    calls: tuple[TimedCall, ...] = field(default=(), repr=False)
    footprints: tuple[Footprint, ...] = field(default=(), repr=False)

    @property
    def bottleneck(self) -> str:
        """Name of the cause that took most cycles."""
        return bottleneck_of(self.causes)


def time_trace(
    trace: Trace,
    core: Core,
    state: str = "hot",
    *,
    record: bool = False,
    prepared: PreparedTrace | None = None,
    most_passes: int = _MAX_PASSES,
) -> Timing:
    """Cycles per call of `trace` on `core`, beginning in a starting state (see `STATES`).

    Hot: the recorded calls are executed again and again, the core's state carried over, until
    the cycles per pass repeat, `most_passes` at most; `record` adds recordings. Code whose
    returns or indirect branches change their targets may go on for ever with the fast BTB in
    either of two states, which the same code on the same silicon shows from run to run (it keeps
    its lock where a target changes, or it does not): both are timed, and the values are what a
    core reaches that is in each for half of the time. Otherwise each recorded call is executed
    alone after the hot core was brought to the starting state, and the cycles are the mean over
    the calls. `prepared` is what `prepare` made of the trace for the core, if it did.

    Raises `InputError` for an empty trace, a trace of the other architecture or an unknown
    `state`, `UnsupportedError` for an instruction without timing.
    """
    check_state(state)
    if state != "hot":
        return _cold(trace, core, state, record, prepared)
    prepared = prepared or prepare(trace, core)
    passes = passes_of(prepared)
    code = prepared.code
    found = []
    for locked in (True, False):
        pipeline = Pipeline(parameters(core), code.insns, code.uops)
        _warm(pipeline, passes, locked)
        found.append(timing := _steady(pipeline, core, prepared, passes, record, most_passes))
        if not (timing.events["target_changes"] and core.branches.fast_btb_relock.value):
            return timing
    kept, lost = found
    return lost if kept.cycles_per_call == lost.cycles_per_call else _mean(kept, lost)


_Key = TypeVar("_Key")


def _mean(a: Timing, b: Timing) -> Timing:
    """Two steady states of the same calls as one: the core is in each for half of the time.

    What changes the state comes from outside the calls, and so in time, not after a number of
    them: the faster state sees more calls.
    """
    a_is_faster = a.cycles_per_call <= b.cycles_per_call
    part = b.cycles_per_call / (a.cycles_per_call + b.cycles_per_call)

    def per_call(a: Mapping[_Key, float], b: Mapping[_Key, float]) -> dict[_Key, float]:
        return {key: part * a.get(key, 0.0) + (1 - part) * b.get(key, 0.0) for key in {**a, **b}}

    recordings = (
        *(replace(one, fast=a_is_faster, share=part) for one in a.recordings),
        *(replace(one, fast=not a_is_faster, share=1 - part) for one in b.recordings),
    )
    return replace(
        a,
        cycles_per_call=2 * part * a.cycles_per_call,
        cycles_low=min(a.cycles_low, b.cycles_low),
        cycles_high=max(a.cycles_high, b.cycles_high),
        events=per_call(a.events, b.events),
        shares=per_call(a.shares, b.shares),
        causes=per_call(a.causes, b.causes),
        recordings=recordings,
        steady=a.steady and b.steady,
    )


def _cold(
    trace: Trace, core: Core, state: str, record: bool, prepared: PreparedTrace | None
) -> Timing:
    """Every recorded call for itself, the starting state restored before each."""
    prepared = prepared or prepare(trace, core)
    timer = CallTimer(trace, core, prepared=prepared)
    timer.warm()
    n = prepared.call_count
    before = timer.shares()
    calls = []
    for number in range(n):
        apply_state(timer.state, state, *timer.caller(number))
        calls.append(timer.time(number, record=record))
    cycles = [call.cycles for call in calls]
    sums = [sum(values) / n for values in zip(*(call.events for call in calls), strict=True)]
    events = dict(zip(EVENTS, sums, strict=True))
    for call in calls:
        for miss in call.misses:
            name = f"{miss.kind} from {miss.found}".replace(" ", "_")
            events[name] = events.get(name, 0.0) + 1 / n
    prints = [footprint_of(prepared, trace.pages, number) for number in range(n)]
    return Timing(
        core=core.name,
        cycles_per_call=sum(cycles) / n,
        cycles_low=float(min(cycles)),
        cycles_high=float(max(cycles)),
        instructions_per_call=events["instructions"],
        uops_per_call=events["uops"],
        events=events,
        shares={
            address: (now - was) / n
            for address, was, now in zip(prepared.addresses, before, timer.shares(), strict=True)
            if now != was
        },
        recordings=tuple(call.recording for call in calls if call.recording),
        state=state,
        calls=tuple(calls),
        footprints=tuple(prints),
    )


def _warm(pipeline: Pipeline, passes: Passes, locked: bool) -> None:
    """Let predictors and memory renaming learn the calls, then a state of the fast BTB settle."""
    least = 1 if passes.warming else 2
    for _ in range(max(least, -(-_TRAINING // len(passes.training.order)))):
        _execute(pipeline, passes.training)
    pipeline.lock(locked)
    if passes.warming:
        _execute(pipeline, passes.warming)


def _steady(
    pipeline: Pipeline,
    core: Core,
    prepared: PreparedTrace,
    passes: Passes,
    record: bool,
    most_passes: int,
) -> Timing:
    took: list[int] = []
    calls: list[NDArray[np.int64]] = []
    period = 0
    counts: list[list[int]] = [pipeline.events()]
    shares: list[list[int]] = [pipeline.shares()]
    held = [holdups(pipeline)]
    executed = passes.first
    for done in range(most_passes):
        before = pipeline.cycle
        calls.append(_execute(pipeline, executed))
        took.append(pipeline.cycle - before)
        counts.append(pipeline.events())
        shares.append(pipeline.shares())
        held.append(holdups(pipeline))
        if passes.wandering or settled(executed, calls[-1]):
            period = 1
            break
        if done:
            period = period_of(took)
            if period:
                break
        if executed is not passes.whole:
            executed = passes.whole
            took.clear()
    steady = period > 0
    if not period:
        period = len(took) // 2
    n = period * executed.call_count
    per_call = np.concatenate(calls[-period:])
    delta = [b - a for a, b in zip(counts[-1 - period], counts[-1], strict=True)]
    events = {name: value / n for name, value in zip(EVENTS, delta, strict=True)}
    start = shares[-1 - period]
    waited = {
        address: (b - a) / n
        for address, a, b in zip(prepared.addresses, start, shares[-1], strict=True)
        if b != a
    }
    mean = sum(took[-period:]) / n
    recordings = (_record(pipeline, prepared, period if steady else 1),) if record else ()
    return Timing(
        core=core.name,
        cycles_per_call=mean,
        cycles_low=float(min(per_call.min(), mean)),
        cycles_high=float(max(per_call.max(), mean)),
        instructions_per_call=events["instructions"],
        uops_per_call=events["uops"],
        events=events,
        shares=waited,
        causes=causes_of(core, held[-1 - period], held[-1], mean),
        recordings=recordings,
        steady=steady,
    )


def _execute(pipeline: Pipeline, calls: Stretch) -> NDArray[np.int64]:
    """Execute calls once; the cycles that each took."""
    cycles = np.zeros(len(calls.marks), dtype=np.int64)
    pipeline.run(calls.order, calls.accesses, calls.marks, cycles)
    return np.diff(cycles)


def _record(pipeline: Pipeline, prepared: PreparedTrace, passes: int) -> Recording:
    """A period of passes, and enough of what follows for its end to be as steady."""
    calls = [*range(prepared.call_count)]
    ahead = -(-_LOOK_AHEAD * len(calls) // len(prepared.order))
    following = (calls * (ahead // len(calls) + 1))[:ahead]
    return record_calls(pipeline, prepared, calls * passes, following)
