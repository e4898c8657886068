"""Calls by what they find: memory carried from call to call, costs by signature."""

from __future__ import annotations

import random
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.calls import PARAMETERS, Execute, costs_of, cpu_of, path_of
from tramposim._native.arrivals import ArrivalSource
from tramposim._native.batch import CallQueue
from tramposim._native.callcosts import CallCosts
from tramposim._native.callpath import SEEN_NAMES, CallPath
from tramposim._native.corestate import CoreState
from tramposim._native.cpucalls import CpuCalls
from tramposim._native.histogram import LatencyHistogram
from tramposim._native.warmth import CallsOf, Passing

HOME = np.zeros(2, np.int64)
LINE = 1 << 32
"""A line per cycle, as rates count."""


def executes(path: CallPath, costs: list[int]) -> Execute:
    """A call takes 100 cycles and more for what it misses; some that depends on chance."""
    draw = random.Random(7)

    def execute(state: CoreState, function: int, cpu: int, disturbed: bool) -> tuple[float, int]:
        offsets = np.array([0, 4160 * function], np.int64)
        missing = sum(path.seen(state, offsets))
        path.pass_through(state, offsets)
        costs.append(missing)
        return 100.0 + 5.0 * missing * draw.uniform(0.9, 1.1) + 10 * disturbed, int(disturbed)

    return execute


def test_a_path_brings_in_what_it_touches_and_nothing_else() -> None:
    path, other = path_of(code=20, data=12), path_of(code=20, data=12, at=0xFFFFFFFF91000000)
    state = CoreState(PARAMETERS)
    cold = dict(zip(SEEN_NAMES, path.seen(state, HOME), strict=True))
    assert cold["windows in memory"] == 20
    assert cold["lines in memory"] == 12
    path.pass_through(state, HOME)
    assert not any(path.seen(state, HOME))
    assert sum(other.seen(state, HOME)) >= 32
    state.evict("data")
    state.evict("uops")
    seen = dict(zip(SEEN_NAMES, path.seen(state, HOME), strict=True))
    assert (seen["windows in L1"], seen["lines in L2"]) == (20, 12)
    # the same lines as another account of the state gives
    data = np.array([0xFFFFFFFF81000000 + (1 << 24) + 64 * k for k in range(12)], np.uint64)
    assert state.levels("data", data) == bytes([2] * 12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.integers(1, 40))
def test_nothing_is_lost_after_a_safe_amount(before: list[int], lines: int) -> None:
    path, state = path_of(code=lines, data=lines), CoreState(PARAMETERS)
    code, data, _, pages = path.safe(state)
    assert code > 0 < data
    for amount in before:  # wherever in the sets the others begin
        for structure, room in (("uops", code), ("data", data), ("dtlb", pages)):
            state.displace(structure, amount)
            path.pass_through(state, HOME)
            state.displace(structure, room)
            assert not any(path.seen(state, HOME)), structure


@pytest.mark.parametrize("functions", [1, 7])
def test_memoised_calls_cost_what_executed_ones_do(functions: int) -> None:
    path = path_of(code=25, data=15, own=6 if functions > 1 else 0)
    executed: list[int] = []
    costs = costs_of(path, executes(path, executed))
    made = {}
    for full in (False, True):
        # first calls of the process are learnt from: the second CPU's mostly are not
        for _ in range(1 if full else 2):
            gaps = random.Random(3)
            cpu = cpu_of(costs, rate=LINE, functions=functions, full=full, log=4000)
            time = 0
            before = len(executed)
            for _ in range(4000):
                time += round(65536 * (300 + gaps.expovariate(1 / 1200.0)))
                cpu.call(time)
            made[full] = (cpu, len(executed) - before)
    memoised, full = made[False][0], made[True][0]
    assert made[True][1] >= 4000 > 5 * made[False][1]
    truth = np.mean(full.costs)
    assert np.mean(memoised.costs) == pytest.approx(truth, rel=0.01)
    assert costs.error < 0.003
    # what is missed is the same, too: only the phase of the background differs
    for kind, number in full.traced.found.items():
        if number > 2000:
            assert memoised.traced.found[kind] == pytest.approx(number, rel=0.12), kind


def test_close_calls_are_looked_up() -> None:
    path = path_of(code=25, data=15)
    executed: list[int] = []
    cpu = cpu_of(costs_of(path, executes(path, executed)), rate=LINE, log=10_000)
    for number in range(10_000):
        cpu.call(number * 210 * 65536)
    assert set(cpu.costs[100:]) == {110 * 65536}
    assert len(executed) < 100


def test_what_others_pass_through_counts() -> None:
    # a queue of calls, and time in which other work passes lines at another rate
    path = path_of(data=15)
    executed: list[int] = []
    cpu = cpu_of(costs_of(path, executes(path, executed)), log=3)
    queue, histogram = CallQueue(), LatencyHistogram()
    queue.add_flow(ArrivalSource.replay(array("q", [0, 1 << 30])), 1, histogram)
    queue.on(cpu)
    queue.run(0, 1 << 31)
    assert executed[0] > 0  # the first call ever
    assert cpu.costs[1] == 100 * 65536  # nothing ran in between
    assert histogram.total == sum(cpu.costs) + 2


def test_other_functions_displace_what_is_a_functions_own() -> None:
    path = path_of(data=4, own=30)
    executed: list[int] = []
    costs = costs_of(path, executes(path, executed))
    few, many = (cpu_of(costs, functions=count, log=3000) for count in (4, 500))
    for number in range(3000):
        for cpu in (few, many):
            cpu.call(number << 30)
    # 4 * 30 lines stay in a first level of 768 lines, 500 * 30 do not
    assert np.mean(few.costs[1000:]) < 102 * 65536
    assert np.mean(many.costs[1000:]) > 180 * 65536


def test_trees_of_calls() -> None:
    path = path_of()
    costs = costs_of(path, lambda *_: (100.0, 0))
    cpu = cpu_of(costs, depth=3, fanout=2)
    assert cpu.call(0) == 7 * 100 * 65536
    assert cpu.made == 7
    with pytest.raises(ValueError, match="at most 4096 calls"):
        cpu_of(costs, depth=12, fanout=3)
    with pytest.raises(ValueError, match="recursive"):
        cpu_of(costs, recursion=1.0)


def test_a_failure_is_kept() -> None:
    def fails(*_: object) -> tuple[float, int]:
        raise RuntimeError("no cost")

    costs = costs_of(path_of(data=1), fails)
    cpu_of(costs).call(0)
    assert isinstance(costs.failure, RuntimeError)
    short = costs_of(path_of(data=1), lambda *_: (0.0, 0))
    cpu_of(short).call(0)
    assert isinstance(short.failure, ValueError)


def test_what_makes_no_sense_is_refused() -> None:
    path, moves = path_of(data=2, own=1), (HOME, HOME, HOME)
    lines = np.zeros((0, 3), np.int64)
    with pytest.raises(ValueError, match="every region"):
        CallCosts(path, lambda *_: (1.0, 0), (HOME[:1],) * 3, lines, 0.01)
    with pytest.raises(ValueError, match="tolerance"):
        CallCosts(path, lambda *_: (1.0, 0), moves, lines, 0.0)
    with pytest.raises(ValueError, match="of no group"):
        CallCosts(path, lambda *_: (1.0, 0), moves, np.array([[0, 0, 9]]), 0.01)
    with pytest.raises(ValueError, match="an offset for every region"):
        path.seen(CoreState(PARAMETERS), HOME[:1])
    costs = costs_of(path, lambda *_: (1.0, 0))
    with pytest.raises(ValueError, match="share"):
        Passing(1, 1, [1 << 17] * 8, 0, 0, 0)
    passing = Passing(1, 1, [1] * 8, 0, 0, 0)
    alone = CallsOf(costs, CoreState(PARAMETERS), passing, 0, 1, True, False)
    with pytest.raises(ValueError, match="of one function for one"):
        CpuCalls(alone, alone, passing, array("Q", [0, 0]), array("i", [0, 1]), 1, 1, 1, 0)
