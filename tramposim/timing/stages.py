"""When instructions and their uops passed the stages of the pipeline, recorded pass by pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tramposim._native.pipeline import Pipeline
from tramposim.timing.prepare import PreparedTrace

__all__ = ["STAGES", "UOP_STAGES", "Recording", "record_calls"]

STAGES = np.dtype(
    [(name, "<i8") for name in ("delivered", "renamed", "issued", "executed", "retired")]
    + [("bubbles", "<u2")]
    + [(name, "u1") for name in ("mispredicted", "forwarded", "memory_renamed", "blocked")]
    + [("uops", "<u2"), ("resumed", "<i8"), ("fetched", "<i8"), ("committed", "<i8")]
    + [(name, "u1") for name in ("resumed_cause", "delivered_cause", "queued")]
    + [("pad", "u1", 5)]
)
"""Layout of `StageRec` in `_native/stages.pxd`: cycles in which an instruction passed the
stages (`issued` -1: no port was needed), and what befell it."""

UOP_STAGES = np.dtype(
    [(name, "<i8") for name in ("renamed", "ready", "started", "done", "slot")]
    + [(name, "u1") for name in ("cause", "stalled", "port", "source")]
    + [("pad", "u1", 4)]
)
"""Layout of `UopStageRec` in `_native/stages.pxd`, one for each uop of each instruction."""

_NO_MARKS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Recording:
    """Calls of a trace, one after the other, and what their instructions went through.

    `calls` are the numbers of the calls that count, which took `cycles`; further ones may
    follow, for what of them delays those. `order` and `accesses` are as in `PreparedTrace`,
    `marks` where each call begins and the last ends; `stages` and `uops` (dtypes `STAGES`,
    `UOP_STAGES`) count cycles from the begin. `fast` tells that the front end was in the faster
    of its two states, or that there is but one; `share` is how many calls go so, relative to
    those of other recordings.
    """

    calls: tuple[int, ...]
    cycles: int
    order: NDArray[np.int32] = field(repr=False)
    accesses: NDArray[np.void] = field(repr=False)
    marks: tuple[int, ...] = field(repr=False)
    stages: NDArray[np.void] = field(repr=False)
    uops: NDArray[np.void] = field(repr=False)
    fast: bool = True
    share: float = 1.0

    @property
    def counted(self) -> int:
        """Number of instructions of the calls that count."""
        return self.marks[len(self.calls)]


def record_calls(
    pipeline: Pipeline, prepared: PreparedTrace, calls: Sequence[int], following: Sequence[int] = ()
) -> Recording:
    """Execute calls (by number) once more on `pipeline`, as it is, and those that follow."""
    parts = [prepared.call(number) for number in (*calls, *following)]
    order = np.concatenate([part for part, _ in parts])
    marks = np.cumsum([0, *(len(part) for part, _ in parts)])
    accesses = np.concatenate([part for _, part in parts])
    shifts = np.repeat(marks[:-1], [len(part) for _, part in parts])
    accesses["insn"] += shifts.astype(np.uint32)
    stages = np.zeros(len(order), dtype=STAGES)
    uops = np.zeros(int(prepared.code.insns["uops"][order].sum()), dtype=UOP_STAGES)
    start = pipeline.cycle
    pipeline.run(order, accesses, _NO_MARKS, _NO_MARKS, stages, uops)
    for name in ("delivered", "renamed", "executed", "retired", "resumed", "fetched", "committed"):
        stages[name] -= start
    for name in ("renamed", "ready", "done"):
        uops[name] -= start
    stages["issued"] -= np.where(stages["issued"] < 0, 0, start)
    uops["started"] -= np.where(uops["started"] < 0, 0, start)
    ends = tuple(int(mark) for mark in marks)
    cycles = int(stages["retired"][ends[len(calls)] - 1])
    return Recording(tuple(calls), cycles, order, accesses, ends, stages, uops)
