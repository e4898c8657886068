"""Memoised costs against the truth: every call of a stretch executed in the state it finds."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim._native.warmth import CpuCalls
from tramposim.machine.traced import TracedWorld
from tramposim.schedule.arrivals import arrival_source
from tramposim.schedule.clock import Clock
from tramposim.study.found import Finding
from tramposim.study.warmth import LINE, displace
from tramposim.study.workload_schema import Workload, arrivals_of
from tramposim.timing import Core
from tramposim.timing.calls import CallTimer

__all__ = ["FullCheck", "check_costs"]

CALLS = 400
"""Calls that are executed one by one."""

_CALL = 8


@dataclass(frozen=True, slots=True)
class FullCheck:
    """Mean cycles of the same calls, looked up and executed."""

    calls: int
    memoised_cycles: float
    executed_cycles: float

    @property
    def error_percent(self) -> float:
        """How far the look-up is from the execution."""
        return 100 * (self.memoised_cycles / self.executed_cycles - 1)


def check_costs(
    world: TracedWorld, core: Core, workload: Workload, clock: Clock, finding: Finding
) -> FullCheck:
    """Execute the first calls of the workload's first task, each in the state it finds.

    The world must have been run before. Ticks, interrupts and other CPUs are left out.
    """
    source = arrival_source(arrivals_of(workload), clock, workload.run.seed, 0)
    table = finding.on_cpu(0)
    trace = world.run(2 * _CALL).trace
    assert trace is not None
    timer = CallTimer(trace, core)
    timer.warm()
    alone = timer.time(_CALL).cycles
    background = finding.background
    most = background.footprint // LINE
    work = clock.from_cycles(workload.function.work_cycles)
    ended, free, executed, calls = 0, 0, 0.0, 0
    starts: list[int] = []
    while calls < CALLS:
        arrival = source.next()
        if arrival is None:
            break
        start = max(arrival, free)
        if calls:
            elapsed = clock.to_seconds(start - ended)
            lines = min(most, round(background.lines_per_s * elapsed))
            displace(timer.state, core, background, lines, common=finding.traced.shared.common)
        else:
            displace(timer.state, core, background, 1 << 30)
        cycles = finding.traced.hot_cycles + timer.time(_CALL).cycles - alone
        executed += cycles
        ended = start + clock.from_cycles(cycles)
        free = ended + work
        starts.append(start)
        calls += 1
    return FullCheck(calls, _looked_up(table, starts, finding), executed / max(calls, 1))


def _looked_up(table: CpuCalls, starts: list[int], finding: Finding) -> float:
    for start in starts:
        table.call(start)
    return finding.outcome([table]).cycles
