"""Lines that several CPUs write: waits against event-by-event simulation, rates by counting."""

from __future__ import annotations

import heapq
import math
from random import Random

import pytest

from tests.support.calls import idle_cpus
from tramposim.schedule.contention import (
    BUCKETS,
    EVERY_CALL,
    TASK,
    Contended,
    Contention,
    mean_wait,
)


def _repairman(customers: int, think: float, service: float) -> float:
    """Mean wait of customers that think (exponential) and queue for one server (constant)."""
    random, free, waited, visits = Random(5), 0.0, 0.0, 0
    arrivals = [random.expovariate(1 / think) for _ in range(customers)]
    heapq.heapify(arrivals)
    for _ in range(40_000):
        at = heapq.heappop(arrivals)
        begin = max(at, free)
        free = begin + service
        waited, visits = waited + begin - at, visits + 1
        heapq.heappush(arrivals, free + random.expovariate(1 / think))
    return waited / visits


@pytest.mark.parametrize(
    ("customers", "think"), [(2, 50.0), (2, 1000.0), (8, 400.0), (8, 3000.0), (64, 2000.0)]
)
def test_waits_are_those_of_a_closed_queue(customers: int, think: float) -> None:
    service = 100.0
    wait = 0.0
    for _ in range(50):  # a CPU's period holds its own wait
        wait = mean_wait(service, think + service + wait, 1.0, customers, wait)
    truth = _repairman(customers, think, service)
    assert wait == pytest.approx(truth, rel=0.12, abs=1.0)


def test_one_cpu_never_waits() -> None:
    assert mean_wait(100, 150, 1.0, 1) == 0
    assert mean_wait(100, 150, 0.0, 8) == 0


def test_lines_of_every_call_are_lost_as_often_as_others_write() -> None:
    cpus = idle_cpus(2)
    gap = 400 * 65536
    for number in range(2000):
        cpus[0].call(number * gap)
        cpus[1].call(number * gap)
    contention = Contention(Contended(50 * 65536, every_call=True), cpus, 2, 1)
    contention.learn(2000 * gap)
    for number in range(2000, 12_000):
        cpus[0].call(number * gap)
    # independent writes at the same rate: one is missing with the chance 1 / e
    share = cpus[0].shared.taken(EVERY_CALL) / 10_000
    assert share == pytest.approx(1 - math.exp(-1), abs=0.02)
    assert cpus[0].shared.taken(BUCKETS) == 0
    assert cpus[0].shared.waited > 0


def test_buckets_are_shared_as_birthdays_are() -> None:
    # 64 threads with keys in 256 lines: each shares its line with any of 63 others
    shared = 0
    for seed in range(20):
        cpus = idle_cpus(64)
        for cpu in cpus:
            for number in range(100):
                cpu.call(number * 1000)
        contention = Contention(Contended(50, bucket_lines=256), cpus, 64, seed)
        contention.learn(100_000)
        for cpu in cpus:
            cpu.call(10_000_000)
        shared += sum(cpu.shared.taken(BUCKETS) for cpu in cpus)
        assert not any(cpu.shared.taken(EVERY_CALL) for cpu in cpus)
    assert shared / 20 / 64 == pytest.approx(1 - (255 / 256) ** 63, abs=0.04)


def test_rates_out_of_range_are_refused() -> None:
    (cpu,) = idle_cpus(1)
    for arguments in ((TASK, 1.0, 0), (-1, 1.0, 0), (0, -1.0, 0), (0, math.nan, 0), (0, 1.0, -1)):
        with pytest.raises(ValueError, match="out of range"):
            cpu.shared.contend(*arguments)
    with pytest.raises(ValueError, match="group"):
        cpu.shared.taken(3)
