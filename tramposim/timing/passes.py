"""Which calls of a trace are executed to find a hot core's cycles, and when they are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.timing.prepare import PreparedTrace, accesses_between

__all__ = ["Passes", "Stretch", "passes_of", "period_of", "settled"]

_STEADY = 4
_LONGEST_PERIOD = 8
_LONG_TRACE = 64_000
"""Instructions from which the first half of a trace is enough to warm the core."""

_WANDERING_CALLS, _LONGEST_PATTERN = 256, 64
"""Calls from which a trace that never repeats tells by itself how calls go on, and the most calls
after which its ways through the code may repeat."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive calls of a trace as one of their own; fields as in `PreparedTrace`."""

    order: NDArray[np.int32]
    accesses: NDArray[np.void]
    marks: NDArray[np.int64]

    @property
    def call_count(self) -> int:
        """Number of calls."""
        return len(self.marks) - 1


@dataclass(frozen=True, slots=True)
class Passes:
    """What is executed: `training`, which predictors learn from, then `warming`, if any, and
    `first` once, then `whole` until its cycles repeat.

    `wandering`: the calls went through the code without a pattern, so that `first` is all.
    Predictors would learn such calls by heart if the same ones were executed again and again.
    """

    training: Stretch
    warming: Stretch | None
    first: Stretch
    whole: Stretch
    wandering: bool


def passes_of(prepared: PreparedTrace) -> Passes:
    """Long traces are cut: the first half trains and warms the core, the second may be steady."""
    whole = Stretch(prepared.order, prepared.accesses, prepared.marks)
    wandering = _wanders(whole)
    enough = whole.call_count >= 2 * _STEADY * _LONGEST_PERIOD
    if not wandering and not (enough and len(whole.order) >= _LONG_TRACE):
        return Passes(whole, None, whole, whole, False)
    half = whole.call_count // 2
    quarters = _part(whole, 0, half // 2), _part(whole, half // 2, half)
    return Passes(*quarters, _part(whole, half, whole.call_count), whole, wandering)


def _part(calls: Stretch, first: int, end: int) -> Stretch:
    """The calls from number `first` to before `end`."""
    begin, stop = int(calls.marks[first]), int(calls.marks[end])
    low, high = accesses_between(calls.accesses, begin, stop)
    accesses = calls.accesses[low:high].copy()
    accesses["insn"] -= begin
    return Stretch(calls.order[begin:stop], accesses, calls.marks[first : end + 1] - begin)


def _wanders(calls: Stretch) -> bool:
    count = calls.call_count
    if count < _WANDERING_CALLS:
        return False
    kinds = np.random.default_rng(0).integers(1 << 60, size=int(calls.order.max()) + 1)
    executed = kinds[calls.order[: calls.marks[-1]]]
    ways = np.add.reduceat(executed, calls.marks[:-1])[count // 4 :]
    if (ways == ways[0]).all():
        return False
    return not any(
        (ways[period:] == ways[:-period]).all() for period in range(2, _LONGEST_PATTERN + 1)
    )


def settled(calls: Stretch, cycles: NDArray[np.int64]) -> bool:
    """Whether calls that took `cycles` are the same instructions and take turns in few durations.

    The first one, before which the pass began, may differ.
    """
    count = calls.call_count
    if count < _STEADY * _LONGEST_PERIOD:
        return False
    if not any(
        count % turns == 0 and (cycles[1 + turns :] == cycles[1:-turns]).all()
        for turns in range(1, _LONGEST_PERIOD + 1)
    ):
        return False
    lengths = np.diff(calls.marks)
    if (lengths != lengths[0]).any():
        return False
    ways = calls.order[calls.marks[0] : calls.marks[-1]].reshape(count, -1)
    return bool((ways == ways[0]).all())


def period_of(passes: Sequence[int]) -> int:
    """Shortest period in which the last passes repeat `_STEADY` times, 0 if there is none."""
    for period in range(1, _LONGEST_PERIOD + 1):
        needed = period * _STEADY
        if len(passes) < needed:
            return 0
        tail = passes[-needed:]
        if all(tail[i] == tail[i - period] for i in range(period, needed)):
            return period
    return 0
