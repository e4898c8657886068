"""The native queue against Lindley's recursion, call by call."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tramposim._native.arrivals import ArrivalSource
from tramposim._native.batch import CallQueue
from tramposim._native.histogram import LatencyHistogram

END = 10_000


def lindley(calls: list[tuple[int, int]], free: list[tuple[int, int]]) -> list[int]:
    """Times in the system of (arrival, service) calls, served in turn while the CPU is free."""
    slots = [time for start, stop in free for time in range(start, stop)]
    times, position = [], 0
    for arrival, service in calls:
        while position < len(slots) and slots[position] < arrival:
            position += 1
        position += service
        if position > len(slots):
            break
        times.append(slots[position - 1] + 1 - arrival)
    return times


arrival_times = st.lists(st.integers(0, 400), max_size=30).map(sorted)
# alternating: how long the CPU is given, how long it is taken away
turns = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), min_size=1, max_size=12)


@given(arrival_times, st.integers(1, 30), turns)
def test_one_flow_with_preemption(times: list[int], service: int, given_turns: object) -> None:
    histogram, queue, free, now = LatencyHistogram(), CallQueue(), [], 0
    queue.add_flow(ArrivalSource.replay(array("q", times)), service, histogram)
    for on, off in given_turns:  # type: ignore[attr-defined]
        assert queue.run(now, now + on) == now + on
        free.append((now, now + on))
        now += on + off
    truth = lindley([(time, service) for time in times], free)
    assert histogram.count == len(truth)
    assert histogram.total == sum(truth)
    assert [low for low, _, count in histogram.buckets() for _ in range(count)] == sorted(truth)


@given(arrival_times, arrival_times, st.integers(1, 20), st.integers(1, 20))
def test_two_flows_share_the_queue(
    first: list[int], second: list[int], service: int, other: int
) -> None:
    histogram, queue = LatencyHistogram(), CallQueue()
    queue.add_flow(ArrivalSource.replay(array("q", first)), service, histogram)
    queue.add_flow(ArrivalSource.replay(array("q", second)), other, histogram)
    queue.run(0, END)
    # of calls that arrive together the first flow's go first
    calls = sorted([(t, 0, service) for t in first] + [(t, 1, other) for t in second])
    truth = lindley([(time, cost) for time, _, cost in calls], [(0, END)])
    assert histogram.total == sum(truth)
    assert queue.busy == len(first) * service + len(second) * other
    assert queue.next_arrival is None


def test_a_queue_gives_the_cpu_back_when_it_is_idle() -> None:
    queue = CallQueue()
    queue.add_flow(ArrivalSource.replay(array("q", [10, 12, 50])), 5, LatencyHistogram())
    assert queue.run(0, 100, stop_when_idle=True) == 0
    assert queue.next_arrival == 10
    assert queue.run(10, 100, stop_when_idle=True) == 20
    assert not queue.runnable
    assert queue.runnable_at(50)
    assert queue.run(50, 52, stop_when_idle=True) == 52
    assert queue.runnable
    assert queue.run(60, 100, stop_when_idle=True) == 63


def test_misuse_is_refused() -> None:
    queue = CallQueue()
    with pytest.raises(ValueError, match="at least one subcycle"):
        queue.add_flow(ArrivalSource.closed(), 0, LatencyHistogram())
    queue.add_flow(ArrivalSource.closed(), 5, LatencyHistogram())
    queue.run(0, 10)
    with pytest.raises(ValueError, match="after one that ended at 10"):
        queue.run(5, 20)
    with pytest.raises(ValueError, match="before the queue first runs"):
        queue.add_flow(ArrivalSource.closed(), 5, LatencyHistogram())
