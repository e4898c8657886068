"""Costs by age: the native look-up against the definition, call by call."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tramposim._native.arrivals import ArrivalSource
from tramposim._native.batch import CallQueue
from tramposim._native.histogram import LatencyHistogram
from tramposim._native.warmth import CallCosts, CpuCalls

ONE = (array("Q", [(1 << 64) - 1]), array("i", [0]))
LINE = 1 << 16


def _costs(limits: list[int], costs: list[int], asked: list[int] | None = None) -> CallCosts:
    """Costs of one function that depend on the first age's level alone."""
    levels = len(limits) + 1

    def fill(cell: int) -> int:
        if asked is not None:
            asked.append(cell)
        return costs[cell // levels**2 % levels]

    ages = array("q", [limit * LINE for limit in limits])
    return CallCosts(ages, fill, 0, True, levels, levels)


@given(
    st.lists(st.integers(1, 2000), min_size=1, max_size=30),
    st.integers(1, 50),
    st.integers(1, 1000),
)
def test_calls_cost_by_the_lines_that_passed_since_the_last(
    gaps: list[int], lines_per_time: int, footprint: int
) -> None:
    limits, costs = [100, 5000], [10, 20, 40]
    table = _costs(limits, costs)
    # one line per 1 / lines_per_time subcycles
    calls = CpuCalls(table, table, lines_per_time << 48, footprint, *ONE, 1, 1, 0)
    times = [sum(gaps[: k + 1]) for k in range(len(gaps))]
    queue, histogram = CallQueue(), LatencyHistogram()
    queue.add_flow(ArrivalSource.replay(array("q", times)), 1, histogram)
    queue.on(calls)
    end = times[-1] + 100 * len(gaps)
    queue.run(0, end)
    clock, last, total = 0, None, 0
    for time in times:
        start = max(clock, time)
        age = None if last is None else min((start - last) * lines_per_time, footprint)
        level = 2 if age is None else sum(age > limit for limit in limits)
        last = start + costs[level]
        clock = last + 1
        total += clock - time
    assert histogram.total == total
    uses, _ = calls.used
    assert sum(uses.values()) == calls.made == len(gaps)


def test_a_cost_is_asked_for_once_and_a_failure_is_kept() -> None:
    asked: list[int] = []
    table = _costs([100], [10, 20], asked)
    calls = CpuCalls(table, table, 1 << 48, 1 << 20, *ONE, 1, 1, 0)
    costs = [calls.call(start) for start in (0, 50, 100, 1000, 1010)]
    assert costs == [20, 10, 10, 20, 10]
    assert len(asked) == len(set(asked)) <= 4

    def fails(cell: int) -> int:
        raise RuntimeError(f"no cost for {cell}")

    broken = CallCosts(array("q", [1]), fails, 0, True, 2, 2)
    CpuCalls(broken, broken, 0, 0, *ONE, 1, 1, 0).call(0)
    assert isinstance(broken.failure, RuntimeError)


def test_other_functions_displace_what_is_a_functions_own() -> None:
    # two functions in turn by chance: own lines age by the other's calls, shared ones do not
    def fill(cell: int) -> int:
        return 1 + 100 * (cell // 4 % 2) + 10 * (cell // 2 % 2)

    table = CallCosts(array("q", [LINE * 5]), fill, 10, False, 2, 2)
    even = array("Q", [(1 << 64) - 1] * 2), array("i", [0, 1])
    calls = CpuCalls(table, table, 0, 0, *even, 1, 7, 0)
    queue, histogram = CallQueue(), LatencyHistogram()
    queue.add_flow(ArrivalSource.replay(array("q", range(0, 400_000, 400))), 1, histogram)
    queue.on(calls)
    queue.run(0, 1_000_000)
    uses, _ = calls.used
    own_cold = sum(count for cell, count in uses.items() if cell // 2 % 4 == 1)
    # each call is of the other function than the last one with chance one half
    assert 400 < own_cold < 600
    assert sum(count for cell, count in uses.items() if cell // 4 % 2) == 1  # the very first call


def test_tables_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="ascend"):
        CallCosts(array("q", [2, 1]), len, 0, True, 0, 0)
    with pytest.raises(ValueError, match="at most"):
        CallCosts(array("q", range(100)), len, 0, True, 0, 0)
    table = _costs([1], [1, 1])
    with pytest.raises(ValueError, match="of one function for one"):
        CpuCalls(table, table, 0, 0, array("Q", [0, 0]), array("i", [0, 1]), 1, 1, 0)
