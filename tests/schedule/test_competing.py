"""Tasks that compete for the CPU: shares of time and delays against arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tramposim.schedule.arrivals import ClosedLoop, Periodic, Poisson
from tramposim.schedule.clock import SUBCYCLES, Clock
from tramposim.schedule.cost import CallCost, FixedCosts
from tramposim.schedule.simulate import simulate
from tramposim.schedule.world import Competitor, Flow, Task, World, WorldResult

CLOCK = Clock(2e9)
BUSY = Competitor("batch", ClosedLoop(), 1_000_000, 0)


def _run(
    *competitors: Competitor, rate_hz: float = 10_000, cpus: int = 1, pinned: bool = True
) -> WorldResult:
    task = Task((Flow("f", Poisson(rate_hz)),), 0, pinned)
    world = World(CLOCK, cpus, (task,), 1.0, tick_hz=250, competitors=competitors)
    return simulate(world, FixedCosts({"f": CallCost(500, 1000)}))


def test_a_busy_task_takes_what_calls_leave() -> None:
    result = _run(BUSY)
    (cpu,) = result.cpus
    assert cpu.busy + cpu.taken + cpu.competing == result.elapsed
    assert cpu.busy / result.elapsed == pytest.approx(10_000 * 1000 / 2e9, rel=0.05)
    # it yields: calls are served as if it was not there
    alone = _run().flows[0].latency
    assert result.flows[0].latency.total == pytest.approx(alone.total, rel=0.01)


def test_calls_that_arrive_during_a_switch_wake_their_task() -> None:
    task = Task((Flow("f", Poisson(50_000)),), 0)
    world = World(CLOCK, 1, (task,), 0.2, switch_cycles=5000, competitors=(BUSY,))
    latency = simulate(world, FixedCosts({"f": CallCost(500, 1000)})).flows[0].latency
    # to the batch job and back, a call before it, and itself; only ticks take longer
    assert CLOCK.to_cycles(latency.percentile(90)) < 5000 + 5000 + 3 * 1000


def test_a_task_that_does_not_yield_makes_calls_wait_for_the_tick() -> None:
    result = _run(replace(BUSY, yields=False), rate_hz=100)
    latency = result.flows[0].latency
    # arrivals at random moments of a 4 ms tick period wait for its end, 2 ms on average
    mean_s = CLOCK.to_seconds(latency.total / latency.count)
    assert mean_s == pytest.approx(0.002, rel=0.25)
    assert CLOCK.to_seconds(latency.maximum) <= 0.0042


def test_a_task_with_a_rate_takes_its_share() -> None:
    result = _run(Competitor("cron", Periodic(1000), 200_000, 0), rate_hz=1000)
    (cpu,) = result.cpus
    assert cpu.competing / result.elapsed == pytest.approx(1000 * 200_000 / 2e9, rel=0.01)


def test_calls_that_may_move_flee_from_a_busy_cpu() -> None:
    stubborn = replace(BUSY, yields=False)
    stays = _run(stubborn, cpus=2, rate_hz=2000)
    moves = _run(stubborn, cpus=2, rate_hz=2000, pinned=False)
    assert stays.migrations == 0
    assert moves.migrations >= 1
    assert moves.flows[0].latency.total < stays.flows[0].latency.total / 2


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (_run(BUSY, Competitor("x", Poisson(500), 5000, 0)) for _ in range(2))
    assert first.cpus == second.cpus
    assert first.flows[0].latency.total == second.flows[0].latency.total
    assert first.flows[0].latency.minimum >= 1000 * SUBCYCLES
