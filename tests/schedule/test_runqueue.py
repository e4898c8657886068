"""A CPU's turns: who runs when, and what switches and interrupts take."""

from array import array

import pytest

from tramposim._native.arrivals import ArrivalSource
from tramposim._native.batch import CallQueue
from tramposim._native.histogram import LatencyHistogram
from tramposim._native.runqueue import RunQueue


def task(times: list[int], service: int) -> tuple[CallQueue, LatencyHistogram]:
    queue, histogram = CallQueue(), LatencyHistogram()
    queue.add_flow(ArrivalSource.replay(array("q", times)), service, histogram)
    return queue, histogram


def latencies(histogram: LatencyHistogram) -> list[int]:
    return [low for low, _, count in histogram.buckets() for _ in range(count)]


def test_a_task_runs_until_it_is_idle_then_the_next_one() -> None:
    cpu = RunQueue(switch_time=3)
    (a, first), (b, second) = task([0, 5], 10), task([1], 10)
    cpu.add(a)
    cpu.add(b)
    cpu.advance(100)
    # a serves both of its calls (0 to 20), 3 go to the switch, b runs from 23 to 33
    assert latencies(first) == [10, 15]
    assert latencies(second) == [32]
    assert (cpu.busy, cpu.taken, cpu.switches) == (30, 3, 1)


def test_a_tick_gives_the_turn_to_the_next_task_with_work() -> None:
    cpu = RunQueue()
    (a, first), (idle, _), (b, second) = task([0], 50), task([90], 5), task([0], 50)
    for queue in (a, idle, b):
        cpu.add(queue)
    for now in (20, 40, 60, 80, 100):
        cpu.advance(now)
        cpu.rotate()
    # a: 0-20, b: 20-40, a: 40-60, b: 60-80, a: 80-90; then turns pass to idle, which has
    # work since 90, and b has its last 10
    assert latencies(first) == [90]
    cpu.advance(200)
    assert latencies(second) == [105]
    assert cpu.busy == 105


def test_interrupts_queue_up() -> None:
    cpu = RunQueue()
    queue, histogram = task([0], 10)
    cpu.add(queue)
    cpu.advance(4)
    cpu.take(20)
    cpu.advance(10)
    cpu.take(5)
    cpu.advance(100)
    assert latencies(histogram) == [4 + 20 + 5 + 6]
    assert (cpu.busy, cpu.taken) == (10, 25)


def test_tasks_come_and_go() -> None:
    cpu = RunQueue()
    (a, _), (b, _), (c, _) = task([0], 10), task([0], 10), task([0], 10)
    for queue in (a, b, c):
        cpu.add(queue)
    assert cpu.waiting() == [b, c]
    cpu.advance(5)
    cpu.rotate()
    assert cpu.waiting() == [c, a]
    cpu.remove(a)
    assert cpu.waiting() == [c]
    with pytest.raises(ValueError, match="current task"):
        cpu.remove(b)
    cpu.add(a)
    assert cpu.waiting() == [c, a]
    assert not cpu.idle()
    cpu.advance(50)
    assert cpu.idle()
    with pytest.raises(ValueError, match="time goes from 50 to 40"):
        cpu.advance(40)
