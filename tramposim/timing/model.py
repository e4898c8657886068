"""Timing of a trace: repeat the recorded calls on a core until nothing changes any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tramposim._native.pipeline import EVENTS, Pipeline
from tramposim._native.uarch import index_addresses
from tramposim.errors import InputError
from tramposim.machine.trace import Trace
from tramposim.timing.core import Core
from tramposim.timing.decode import StaticCode, mark_windows, parameters, static_code

__all__ = ["STAGES", "Timing", "time_trace"]

STAGES = np.dtype(
    [(name, "<i8") for name in ("delivered", "renamed", "issued", "executed", "retired")]
    + [("bubbles", "<u2")]
    + [(name, "u1") for name in ("mispredicted", "forwarded", "memory_renamed", "blocked")]
    + [("uops", "<u2")]
)
"""Layout of `StageRec` in `_native/stages.pxd`: cycles in which an instruction passed the
stages (`issued` -1: no port was needed), and counts of what befell it."""

_MAX_PASSES = 400
_STEADY = 4
_LONGEST_PERIOD = 8
_MIN_INSTRUCTIONS = 4000


@dataclass(frozen=True, slots=True)
class Timing:
    """What one call of a traced loop costs on a core, all values per call.

    `cycles_low` and `cycles_high` are the extremes of the steady state's calls where it is not
    constant (equal to `cycles_per_call` otherwise). `events` holds mean counts per call by the
    names of `EVENTS`. `shares` maps an instruction's address to the cycles per call that
    retirement waited for it; the values sum to `cycles_per_call`. `steady` is false if no
    steady state was found; `cycles_per_call` is then the mean of the second half. `stages`
    (dtype `STAGES`), if asked for, tells for every instruction of one more pass over the
    trace's whole calls when it passed each stage, counted from the pass's begin.
    """

    core: str
    cycles_per_call: float
    cycles_low: float
    cycles_high: float
    instructions_per_call: float
    uops_per_call: float
    events: Mapping[str, float]
    shares: Mapping[int, float] = field(default_factory=dict, repr=False)
    steady: bool = True
    stages: NDArray[np.void] | None = field(default=None, repr=False)


def time_trace(trace: Trace, core: Core, state: str = "hot", *, record: bool = False) -> Timing:
    """Cycles per call of `trace` on `core`, in its steady state.

    The recorded calls are executed again and again, the core's state carried over, until the
    cycles per pass repeat; `record` adds their stages. Raises `InputError` for an empty trace, a
    trace of the other architecture or an unknown `state`, `UnsupportedError` for an instruction
    without timing.
    """
    if trace.arch is not core.arch:
        raise InputError(f"core {core.name} is {core.arch.value}, the trace is {trace.arch.value}")
    if state != "hot":
        raise InputError(f"unknown starting state {state!r}; known: hot")
    if trace.call_count < 1:
        raise InputError("the trace holds no whole call")
    first, last = int(trace.calls[0]), int(trace.calls[-1])
    pcs = np.ascontiguousarray(trace.pcs[first:last], dtype=np.uint64)
    order = np.empty(len(pcs), dtype=np.int32)
    addresses = index_addresses(pcs, order)
    code = _decode(trace, core, addresses)
    begin, end = np.searchsorted(trace.accesses["insn"], [first, last])
    accesses = trace.accesses[begin:end].copy()
    accesses["insn"] -= first
    marks = np.ascontiguousarray(trace.calls - first, dtype=np.int64)
    mark_windows(core, code.insns, code.uops)
    pipeline = Pipeline(parameters(core), code.insns, code.uops)
    timing = _steady(pipeline, core, order, accesses, marks, addresses)
    if not record:
        return timing
    start = pipeline.cycle
    stages = np.zeros(len(order), dtype=STAGES)
    pipeline.run(order, accesses, marks, np.zeros(len(marks), dtype=np.int64), stages)
    for name in ("delivered", "renamed", "executed", "retired"):
        stages[name] -= start
    stages["issued"] -= np.where(stages["issued"] < 0, 0, start)
    return replace(timing, stages=stages)


def _decode(trace: Trace, core: Core, addresses: list[int]) -> StaticCode:
    code = []
    region = None
    for address in addresses:
        if region is None or not 0 <= address - region.address < len(region.code):
            region = trace.region_of(address)
        start = address - region.address
        code.append(region.code[start : start + 15])
    return static_code(core, addresses, code)


def _steady(
    pipeline: Pipeline,
    core: Core,
    order: NDArray[np.int32],
    accesses: NDArray[np.void],
    marks: NDArray[np.int64],
    addresses: list[int],
) -> Timing:
    cycles = np.zeros(len(marks), dtype=np.int64)
    passes: list[int] = []
    calls: list[NDArray[np.int64]] = []
    least = max(2, -(-_MIN_INSTRUCTIONS // max(1, len(order))))
    period = 0
    counts: list[list[int]] = [pipeline.events()]
    shares: list[list[int]] = []
    for done in range(_MAX_PASSES):
        before = pipeline.cycle
        pipeline.run(order, accesses, marks, cycles)
        passes.append(pipeline.cycle - before)
        calls.append(np.diff(cycles))
        counts.append(pipeline.events())
        shares.append(pipeline.shares())
        if _settled(order, marks, calls[-1]) and done >= least - 1:
            period = 1
            break
        if done >= least:
            period = _period(passes)
            if period:
                break
    steady = period > 0
    if not period:
        period = len(passes) // 2
    n = period * (len(marks) - 1)
    per_call = np.concatenate(calls[-period:])
    delta = [b - a for a, b in zip(counts[-1 - period], counts[-1], strict=True)]
    events = {name: value / n for name, value in zip(EVENTS, delta, strict=True)}
    start = shares[-1 - period] if len(shares) > period else [0] * len(addresses)
    waited = {
        address: (b - a) / n
        for address, a, b in zip(addresses, start, shares[-1], strict=True)
        if b != a
    }
    mean = sum(passes[-period:]) / n
    return Timing(
        core=core.name,
        cycles_per_call=mean,
        cycles_low=float(min(per_call.min(), mean)),
        cycles_high=float(max(per_call.max(), mean)),
        instructions_per_call=events["instructions"],
        uops_per_call=events["uops"],
        events=events,
        shares=waited,
        steady=steady,
    )


def _settled(order: NDArray[np.int32], marks: NDArray[np.int64], cycles: NDArray[np.int64]) -> bool:
    """Whether all calls of one pass are the same instructions and, but for one, took as long."""
    if len(cycles) < _STEADY * _LONGEST_PERIOD:
        return False
    lengths = np.diff(marks)
    if (lengths != lengths[0]).any():
        return False
    calls = order[marks[0] : marks[-1]].reshape(len(cycles), -1)
    return bool((calls == calls[0]).all() and (cycles[1:] == cycles[1]).all())


def _period(passes: list[int]) -> int:
    """Shortest period with which the last passes repeat `_STEADY` times, 0 if none."""
    for period in range(1, _LONGEST_PERIOD + 1):
        needed = period * _STEADY
        if len(passes) < needed:
            return 0
        tail = passes[-needed:]
        if all(tail[i] == tail[i - period] for i in range(period, needed)):
            return period
    return 0
