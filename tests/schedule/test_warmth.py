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


NONE = array("q")


def _costs(limits: list[int], costs: list[int], asked: list[int] | None = None) -> CallCosts:
    """Costs of one function that depend on the first age's level alone."""

    def fill(cell: int) -> tuple[int, int]:
        if asked is not None:
            asked.append(cell)
        return costs[cell % (len(limits) + 1)], 0

    ages = array("q", [limit * LINE for limit in limits])
    return CallCosts([ages, NONE, NONE, NONE], fill, 0, True)


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

    def fails(cell: int) -> tuple[int, int]:
        raise RuntimeError(f"no cost for {cell}")

    broken = CallCosts([NONE] * 4, fails, 0, True)
    CpuCalls(broken, broken, 0, 0, *ONE, 1, 1, 0).call(0)
    assert isinstance(broken.failure, RuntimeError)


def test_what_a_call_brings_in_is_young_again() -> None:
    # one level each; the second age counts from the last call that says it fetched lines
    limits = array("q", [LINE * 100])

    def fill(cell: int) -> tuple[int, int]:
        _, first, second, _, _ = costs.levels_of(cell)
        return 1 + 10 * first + 100 * second, 1 if first else 0

    costs = CallCosts([limits, limits, NONE, NONE], fill, 0, True)
    calls = CpuCalls(costs, costs, 1 << 48, 1 << 20, *ONE, 1, 1, 0)
    # ages of the first: none yet, 49, 49, 49 (each young); of the second they add up
    found = [calls.call(start) for start in (0, 160, 210, 260, 600, 720)]
    assert found == [111, 1, 1, 101, 111, 1]


def test_other_functions_displace_what_is_a_functions_own() -> None:
    # two functions in turn by chance: own lines age by the other's calls, shared ones do not
    limits = array("q", [LINE * 5])

    def fill(cell: int) -> tuple[int, int]:
        _, shared, own, _, _ = table.levels_of(cell)
        return 1 + 100 * shared + 10 * own, 0

    table = CallCosts([limits, limits, NONE, NONE], fill, 10, False)
    even = array("Q", [(1 << 64) - 1] * 2), array("i", [0, 1])
    calls = CpuCalls(table, table, 0, 0, *even, 1, 7, 0)
    queue, histogram = CallQueue(), LatencyHistogram()
    queue.add_flow(ArrivalSource.replay(array("q", range(0, 400_000, 400))), 1, histogram)
    queue.on(calls)
    queue.run(0, 1_000_000)
    uses, _ = calls.used
    own_cold = sum(n for cell, n in uses.items() if table.levels_of(cell)[1:3] == (0, 1))
    # each call is of the other function than the last one with chance one half
    assert 400 < own_cold < 600
    assert sum(n for cell, n in uses.items() if table.levels_of(cell)[1]) == 1  # the very first


def test_tables_that_make_no_sense_are_refused() -> None:
    def fill(cell: int) -> tuple[int, int]:
        return 1, 0

    with pytest.raises(ValueError, match="ascend"):
        CallCosts([array("q", [2, 1]), NONE, NONE, NONE], fill, 0, True)
    with pytest.raises(ValueError, match="at most"):
        CallCosts([array("q", range(100)), NONE, NONE, NONE], fill, 0, True)
    with pytest.raises(ValueError, match="4 ages"):
        CallCosts([NONE], fill, 0, True)
    table = _costs([1], [1, 1])
    with pytest.raises(ValueError, match="of one function for one"):
        CpuCalls(table, table, 0, 0, array("Q", [0, 0]), array("i", [0, 1]), 1, 1, 0)
