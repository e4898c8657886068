"""Simulated worlds against queueing theory and arithmetic."""

import math
import resource
from statistics import fmean, stdev

import pytest

from tramposim.errors import InputError
from tramposim.schedule.arrivals import Arrivals, ClosedLoop, OnOff, Periodic, Poisson, Replay
from tramposim.schedule.clock import SUBCYCLES, Clock
from tramposim.schedule.cost import CallCost, FixedCosts
from tramposim.schedule.simulate import simulate
from tramposim.schedule.world import Flow, Interrupts, Task, World, WorldResult

CLOCK = Clock(2e9)


def run(
    arrivals: Arrivals,
    cycles: float,
    *,
    duration_s: float = 0.1,
    seed: int = 1,
    cpus: int = 1,
    work_cycles: float = 0.0,
    interrupts: tuple[Interrupts, ...] = (),
    tick_cycles: float = 0.0,
) -> WorldResult:
    flow = Flow("f", arrivals, work_cycles)
    tasks = tuple(Task((flow,), cpu) for cpu in range(cpus))
    world = World(
        CLOCK, cpus, tasks, duration_s, seed, tick_cycles=tick_cycles, interrupts=interrupts
    )
    return simulate(world, FixedCosts({"f": CallCost(cycles / 2, cycles)}))


def utilisation(result: WorldResult) -> float:
    return fmean(cpu.busy for cpu in result.cpus) / result.elapsed


def wait_cycles(result: WorldResult, cycles: float) -> float:
    latency = result.flows[0].latency
    return latency.total / latency.count / SUBCYCLES - cycles


@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_poisson_calls_at_fixed_cost_are_an_m_d_1_queue(load: float) -> None:
    """Utilisation rho and mean wait rho s / (2 (1 - rho)) (Pollaczek-Khinchine)."""
    cycles, seeds = 1000.3, range(20)
    arrivals = Poisson(load * CLOCK.hz / cycles)
    results = [run(arrivals, cycles, seed=seed, duration_s=0.2) for seed in seeds]
    for found, truth in (
        ([utilisation(result) for result in results], load),
        ([wait_cycles(result, cycles) for result in results], load * cycles / 2 / (1 - load)),
    ):
        # Student t, 19 degrees of freedom, 99.9 %
        assert abs(fmean(found) - truth) < 3.883 * stdev(found) / math.sqrt(len(found))
        assert fmean(found) == pytest.approx(truth, rel=0.02)


def test_m_d_1_waiting_time_distribution() -> None:
    """Erlang: a fraction 1 - rho of the calls does not wait; p(wait <= s) = (1-rho) e**rho."""
    cycles, load = 1000, 0.5
    latency = run(Poisson(load * CLOCK.hz / cycles), cycles, duration_s=1).flows[0].latency
    limit = 2 * cycles * SUBCYCLES
    below = sum(count for _, high, count in latency.buckets() if high <= limit * (1 + 1 / 512))
    assert below / latency.count == pytest.approx((1 - load) * math.exp(load), abs=0.005)


def test_periodic_calls_are_counted_exactly() -> None:
    result = run(Periodic(50_000), 300, duration_s=1.0, cpus=3)
    assert result.flows[0].calls == 3 * 50_000
    assert utilisation(result) == pytest.approx(50_000 * 300 / CLOCK.hz, rel=1e-12)
    assert result.flows[0].latency.minimum == result.flows[0].latency.maximum == 300 * SUBCYCLES
    assert result.behind == 0


def test_a_closed_loop_runs_at_one_over_the_cost() -> None:
    result = run(ClosedLoop(), 72.1, work_cycles=27.9)
    assert result.flows[0].calls == int(0.1 * CLOCK.hz / 100)
    thinking = run(ClosedLoop(think_cycles=100), 100)
    assert thinking.flows[0].calls == int(0.1 * CLOCK.hz / 200)
    assert utilisation(thinking) == pytest.approx(0.5, rel=1e-5)


def test_overload_fills_the_cpu_and_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = run(Poisson(1e8), 1000, duration_s=1.0)
    assert utilisation(result) == pytest.approx(1.0, abs=1e-6)
    assert result.flows[0].calls == pytest.approx(CLOCK.hz / 1000, abs=2)
    assert CLOCK.to_seconds(result.behind) == pytest.approx(1 - 2e6 / 1e8, rel=0.01)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_the_same_seed_gives_the_same_result_and_others_differ() -> None:
    def shape(seed: int) -> object:
        result = run(Poisson(1e6), 1000, cpus=2, seed=seed, duration_s=0.02)
        return result.cpus, result.flows[0].latency.buckets(), result.flows[0].latency.total

    assert shape(1) == shape(1)
    assert shape(1) != shape(2)


def test_batches_do_not_change_the_result() -> None:
    """Scheduling points only cut time into batches: with none or many, calls are the same."""
    flow = Flow("f", Poisson(1e6))
    shapes = []
    for tick_hz in (0.5, 97.0, 20_000.0):
        world = World(CLOCK, 1, (Task((flow,), 0),), 0.1, tick_hz=tick_hz)
        result = simulate(world, FixedCosts({"f": CallCost(1, 1500.5)}))
        shapes.append((result.flows[0].latency.buckets(), result.cpus))
    assert shapes[0] == shapes[1] == shapes[2]


def test_interrupts_take_time_from_calls_and_preempt_them() -> None:
    handler = Interrupts(Replay((1e-6,)), 5000)
    result = run(Replay((0.0, 2e-6)), 3000, interrupts=(handler,))
    # first call: begins at 0, has run 2000 cycles when 5000 are taken, done at 8000; the second
    # arrives at 4000 and runs from 8000 to 11000
    assert result.flows[0].latency.minimum == 7000 * SUBCYCLES
    assert result.flows[0].latency.maximum == 8000 * SUBCYCLES
    assert result.cpus[0].taken == 5000 * SUBCYCLES
    assert result.cpus[0].busy == 6000 * SUBCYCLES


def test_ticks_take_their_time() -> None:
    result = run(ClosedLoop(), 100, tick_cycles=8_000, duration_s=1.0)
    # 249 whole ticks; the one at the end of the measurement has no time left
    assert result.cpus[0].taken == 249 * 8000 * SUBCYCLES
    assert result.cpus[0].busy + result.cpus[0].taken == result.elapsed


def test_several_flows_are_served_in_order_of_arrival() -> None:
    slow, fast = Flow("slow", Replay((0.0,))), Flow("fast", Replay((1e-7, 2e-7)))
    world = World(CLOCK, 1, (Task((slow, fast), 0),), 0.001)
    costs = FixedCosts({"slow": CallCost(1, 10_000), "fast": CallCost(1, 100)})
    by_name = {flow.function: flow for flow in simulate(world, costs).flows}
    assert by_name["slow"].latency.total == 10_000 * SUBCYCLES
    # they arrive at 200 and 400 cycles, and wait for the slow one
    assert by_name["fast"].latency.total == (10_100 - 200 + 10_200 - 400) * SUBCYCLES


def test_tasks_share_a_cpu_in_turns() -> None:
    tasks = tuple(Task((Flow(name, ClosedLoop()),), 0) for name in ("a", "b"))
    world = World(CLOCK, 1, tasks, 1.0, tick_hz=100, switch_cycles=1000)
    costs = FixedCosts({name: CallCost(1, 1000) for name in ("a", "b")})
    result = simulate(world, costs)
    calls = [flow.calls for flow in result.flows]
    assert sum(calls) == pytest.approx(CLOCK.hz / 1000, rel=1e-3)
    assert calls[0] == pytest.approx(calls[1], rel=0.02)
    assert result.switches == 99
    assert result.cpus[0].taken == 99 * 1000 * SUBCYCLES


def test_idle_cpus_pull_tasks_that_may_move() -> None:
    def calls(pinned: bool) -> tuple[int, int]:
        tasks = tuple(Task((Flow("f", ClosedLoop()),), 0, pinned) for _ in range(2))
        result = simulate(World(CLOCK, 2, tasks, 1.0), FixedCosts({"f": CallCost(1, 1000)}))
        return result.flows[0].calls, result.migrations

    assert calls(pinned=True) == (2_000_000, 0)
    moved, migrations = calls(pinned=False)
    assert moved == pytest.approx(4_000_000, rel=0.01)
    assert migrations == 1


def test_bursts_wait_longer_than_poisson_at_the_same_rate() -> None:
    calm = run(Poisson(1e6), 1000)
    bursty = run(OnOff(1e6, on_s=1e-4, off_s=1e-4), 1000)
    assert wait_cycles(bursty, 1000) > 3 * wait_cycles(calm, 1000)


def test_a_watcher_can_stop_the_run() -> None:
    world = World(CLOCK, 1, (Task((Flow("f", Periodic(1e5)),), 0),), 1.0)
    seen: list[float] = []

    def watch(seconds: float) -> bool:
        seen.append(seconds)
        return seconds < 0.25

    result = simulate(world, FixedCosts({"f": CallCost(1, 10)}), watch)
    assert not result.complete
    assert CLOCK.to_seconds(result.elapsed) == pytest.approx(seen[-1]) == pytest.approx(0.25)
    assert result.flows[0].calls == pytest.approx(25_000, abs=1)


def test_impossible_worlds_are_refused() -> None:
    with pytest.raises(InputError, match="CPUs"):
        World(CLOCK, 0, (), 1.0)
    with pytest.raises(InputError, match="count from 0"):
        World(CLOCK, 1, (Task((), 1),), 1.0)
    with pytest.raises(InputError, match="closed loop"):
        Interrupts(ClosedLoop(), 100)
    with pytest.raises(InputError, match="no cost is known"):
        simulate(World(CLOCK, 1, (Task((Flow("f", ClosedLoop()),), 0),), 1.0), FixedCosts({}))
    with pytest.raises(InputError, match="longest time"):
        simulate(World(CLOCK, 1, (), 1e7), FixedCosts({}))
