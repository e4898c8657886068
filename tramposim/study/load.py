"""What tracing costs at a call rate: a workload simulated under each scenario.

Every scenario of a workload sees the same arrivals; only the cost of a call differs. The
costs come from a `CallMeter`: the measurement that `compare` prints, hot, and where the workload
has a background or many functions, what the same call costs by what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Protocol

from tramposim import __version__
from tramposim._native.histogram import LatencyHistogram
from tramposim.schedule.clock import Clock
from tramposim.schedule.cost import CallCost, FixedCosts, Nested
from tramposim.schedule.simulate import Watcher, simulate
from tramposim.schedule.world import Flow, Interrupts, Task, World, WorldResult
from tramposim.spec import Arch
from tramposim.study.found import Finding, Outcome
from tramposim.study.fullcheck import FullCheck
from tramposim.study.records import Records, Value
from tramposim.study.scenario import UNTRACED
from tramposim.study.warmth import Background, Warmth
from tramposim.study.workload_schema import Workload, arrivals_of, split_scenario

__all__ = ["BASIS", "BASIS_FOUND", "CallMeter", "MeteredCall", "Progress", "load"]

BASIS_FOUND = (
    "every call costs what the core model takes for it in the state that it finds: caches, TLBs "
    "and branch targets as the background since the last call left them; lines that all CPUs "
    "write are fetched from the CPU that wrote them; service is first come, first served per task"
)

BASIS = (
    "every call is timed hot: caches, TLBs and branch predictors as after calls back to back, "
    "whatever the rate; cold misses of sparse calls, contention between CPUs and the work's "
    "own cache footprint are not in the numbers; service is first come, first served per task"
)

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "p99_99": 99.99}

SATURATED = 0.999
"""A CPU busier than this has no idle time left: its queue grows without end."""

Progress = Callable[[str, float], bool]
"""Told what is being simulated and the share of all that is done; False stops there."""


@dataclass(frozen=True, slots=True)
class MeteredCall:
    """What one hot call costs, and how that was found (fields of a row: core, entry, ...)."""

    cycles: float
    facts: Mapping[str, Value]


class CallMeter(Protocol):
    """Where the cycles of a call come from, for one architecture, kernel and core."""

    @property
    def arch(self) -> Arch:
        """Architecture of the calls."""
        ...

    @property
    def clock_ghz(self) -> float:
        """Nominal clock of the core."""
        ...

    def call(self, scenario: str, body: str) -> MeteredCall:
        """One hot call with `scenario` of programs attached that do `body`."""
        ...

    def found(
        self, scenario: str, body: str, background: Background, alone: bool, migrating: bool
    ) -> Warmth:
        """The same call by what it finds after `background`; `alone`: no other function,
        `migrating`: threads move between CPUs."""
        ...

    def nested(self, scenario: str, body: str) -> Nested:
        """The same call made by an interrupt handler."""
        ...

    def check(
        self, scenario: str, body: str, workload: Workload, clock: Clock, finding: Finding
    ) -> FullCheck:
        """What costs by what calls find are off from executing every call."""
        ...


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One run (one seed) of a scenario, per second and CPU where it says so."""

    calls: int
    seconds: float
    cpus: int
    utilisation: float
    taken: float
    added_share: float
    latency: LatencyHistogram
    behind_s: float
    complete: bool
    found: Outcome | None = None
    nested_calls: int = 0
    recursion_misses: int = 0

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.seconds if self.seconds else 0.0


def load(
    workloads: Sequence[Workload],
    meters: Sequence[CallMeter],
    *,
    runs: int = 1,
    progress: Progress = lambda what, done: True,
) -> Records:
    """Simulate variants of a workload on each meter's machine under each of its scenarios.

    The variants differ in their rate (a curve over the call rate) or in how many functions are
    traced; the first one speaks for all in `meta`, and the costs of the one in the middle are
    checked. `runs` repeats with the following seeds; rows then carry means and the half-width
    of their 95 % confidence interval (`..._ci95`). When `progress` returns False the run ends
    with what was simulated (`meta["complete"]` is False).
    """
    rows: list[Mapping[str, Value]] = []
    calls = [_Calls(meter) for meter in meters]
    cells = [
        (meter, workload, *split_scenario(word, workload.run.body))
        for meter in calls
        for workload in workloads
        for word in workload.run.scenarios
    ]
    for index, (meter, workload, scenario, body) in enumerate(cells):

        def watch(what: str, done: float, index: int = index) -> bool:
            return progress(what, (index + done) / len(cells))

        name = f"{meter.meter.arch} {scenario} {body}"
        if not watch(name, 0.0):
            return _records(workloads[0], rows, complete=False)
        metered = meter.call(scenario, body)
        cost = CallCost(meter.call(UNTRACED, body).cycles, metered.cycles)
        clock = Clock((workload.machine.clock_ghz or meter.meter.clock_ghz) * 1e9)
        costs = _Costs(
            cost,
            meter.finding(workload, clock, scenario, body),
            meter.nested(workload, scenario, body),
        )
        outcomes = _runs(workload, clock, costs, runs, name, watch)
        rows.append(
            {
                "arch": meter.meter.arch.value,
                **metered.facts,
                "scenario": scenario,
                "body": body,
                **_row(workload, clock, cost, outcomes),
                **(
                    meter.checked(costs.finding, workload, clock, scenario, body)
                    if workload is workloads[len(workloads) // 2]
                    else {}
                ),
            }
        )
        if not outcomes[-1].complete:
            return _records(workloads[0], rows, complete=False)
    return _records(workloads[0], rows, complete=True)


@dataclass(frozen=True, slots=True)
class _Costs:
    """What calls cost hot, what they cost by what they find, and in interrupts."""

    hot: CallCost
    finding: Finding | None
    nested: Nested | None


class _Calls:
    """The calls of one meter, each measured once."""

    def __init__(self, meter: CallMeter) -> None:
        self.meter = meter
        self._measured: dict[tuple[str, str], MeteredCall] = {}
        self._found: dict[tuple[str, str, Background, bool, bool], Warmth] = {}

    def finding(self, workload: Workload, clock: Clock, scenario: str, body: str) -> Finding | None:
        """What makes calls cost what they find; None if the workload lets all be hot."""
        background = workload.between_calls
        if background is None:
            return None
        alone = workload.population.count == 1
        traced, untraced = (
            self._warmth(
                word, "empty" if word == UNTRACED else body, background, alone, workload.migrating
            )
            for word in (scenario, UNTRACED)
        )
        seed = workload.run.seed
        return Finding(traced, untraced, background, workload.population, clock, seed)

    def checked(
        self, finding: Finding | None, workload: Workload, clock: Clock, scenario: str, body: str
    ) -> dict[str, Value]:
        """How far memoised costs are from executed ones, on calls of a single function."""
        if finding is None or workload.population.count > 1 or workload.population.depth > 1:
            return {}
        body = "empty" if scenario == UNTRACED else body
        found = self.meter.check(scenario, body, workload, clock, finding)
        return {"memo_error_percent": round(found.error_percent, 3), "memo_calls": found.calls}

    def _warmth(
        self, scenario: str, body: str, background: Background, alone: bool, migrating: bool
    ) -> Warmth:
        key = scenario, body, background, alone, migrating
        if key not in self._found:
            self._found[key] = self.meter.found(*key)
        return self._found[key]

    def nested(self, workload: Workload, scenario: str, body: str) -> Nested | None:
        """The cost of interrupt handlers' calls; None if they make none."""
        if not any(interrupt.calls for interrupt in workload.interrupts):
            return None
        return self.meter.nested(scenario, "empty" if scenario == UNTRACED else body)

    def call(self, scenario: str, body: str) -> MeteredCall:
        """The cost of a call; untraced calls have no programs, so no body."""
        key = (scenario, "empty" if scenario == UNTRACED else body)
        if key not in self._measured:
            self._measured[key] = self.meter.call(*key)
        return self._measured[key]


def _runs(
    workload: Workload, clock: Clock, costs: _Costs, runs: int, name: str, progress: Progress
) -> list[_Outcome]:
    """One outcome per seed, fewer if the last one was cut short."""
    outcomes: list[_Outcome] = []
    while len(outcomes) < runs and (not outcomes or outcomes[-1].complete):

        def watch(seconds: float, run: int = len(outcomes)) -> bool:
            return progress(
                f"{name}, {seconds:.3g} s of {workload.run.duration}",
                (run + seconds / workload.duration_s) / runs,
            )

        outcomes.append(_run(workload, clock, costs, len(outcomes), watch))
    return outcomes


def _run(workload: Workload, clock: Clock, costs: _Costs, run: int, watch: Watcher) -> _Outcome:
    machine, function = workload.machine, workload.prototype.name
    work_cycles = workload.function.work_cycles
    world = World(
        clock=clock,
        cpus=machine.cpus,
        tasks=tuple(
            Task(
                (Flow(function, arrivals_of(workload, index), work_cycles),),
                index % machine.cpus,
                machine.pinned,
            )
            for index in range(workload.tasks)
        ),
        duration_s=workload.duration_s,
        seed=workload.run.seed + run,
        tick_hz=machine.tick_hz,
        tick_cycles=machine.tick_cycles,
        switch_cycles=machine.switch_cycles,
        interrupts=tuple(
            Interrupts(interrupt.arrivals, interrupt.cycles, interrupt.calls)
            for interrupt in workload.interrupts
        ),
    )
    finding = replace(costs.finding, seed=world.seed) if costs.finding else None
    result = simulate(
        world,
        FixedCosts({function: costs.hot}),
        watch,
        found=finding.on_cpu if finding else None,
        nested=costs.nested,
        contended=finding.contended if finding else None,
    )
    return _outcome(world, costs.hot, finding, result)


def _outcome(
    world: World, cost: CallCost, finding: Finding | None, result: WorldResult
) -> _Outcome:
    (flow,) = result.flows
    capacity = result.elapsed * world.cpus
    found = finding.outcome(result.found) if finding else None
    if found is None:
        added = flow.calls * world.clock.from_cycles(cost.added_cycles)
    else:
        added = found.calls * world.clock.from_cycles(found.cycles - found.untraced_cycles)
    return _Outcome(
        calls=flow.calls,
        seconds=world.clock.to_seconds(result.elapsed),
        cpus=world.cpus,
        utilisation=sum(cpu.busy for cpu in result.cpus) / capacity if capacity else 0.0,
        taken=sum(cpu.taken for cpu in result.cpus) / capacity if capacity else 0.0,
        added_share=added / capacity if capacity else 0.0,
        latency=flow.latency,
        behind_s=world.clock.to_seconds(result.behind),
        complete=result.complete,
        found=found,
        nested_calls=result.nested_calls,
        recursion_misses=result.recursion_misses,
    )


def _row(
    workload: Workload, clock: Clock, cost: CallCost, outcomes: Sequence[_Outcome]
) -> dict[str, Value]:
    cpus, rate_hz = workload.machine.cpus, workload.rate_hz
    service = cost.traced_cycles + workload.function.work_cycles
    latency = LatencyHistogram()
    for outcome in outcomes:
        latency.merge(outcome.latency)
    taken = fmean(outcome.taken for outcome in outcomes)
    busy = taken + fmean(outcome.utilisation for outcome in outcomes)

    def ns(time: float) -> float:
        return round(clock.to_seconds(time) * 1e9, 2)

    row: dict[str, Value] = {
        "cpus": cpus,
        "functions": workload.population.count,
        "clock_ghz": clock.hz / 1e9,
        "offered_calls_per_s": rate_hz,
        "calls": sum(outcome.calls for outcome in outcomes),
        "calls_per_s": _mean(outcomes, lambda outcome: outcome.calls_per_s, 3),
        **_cycles(cost, outcomes),
        "work_cycles_per_call": workload.function.work_cycles,
        "added_percent_of_one_cpu": _mean(outcomes, lambda o: 100 * cpus * o.added_share),
        "added_percent_of_all_cpus": _mean(outcomes, lambda o: 100 * o.added_share),
        "utilisation_percent": _mean(outcomes, lambda o: 100 * o.utilisation),
        "interrupted_percent": _mean(outcomes, lambda o: 100 * o.taken),
        "saturated": busy > SATURATED,
        "behind_s": round(max(outcome.behind_s for outcome in outcomes), 9),
        "saturation_calls_per_s": round(
            min(cpus, workload.tasks) * clock.hz / service * (1 - taken), 3
        ),
        "latency_mean_ns": ns(latency.total / latency.count) if latency.count else None,
        **{
            f"latency_{name}_ns": ns(latency.percentile(percent)) if latency.count else None
            for name, percent in PERCENTILES.items()
        },
        "latency_max_ns": ns(latency.maximum) if latency.count else None,
        "simulated_s": round(sum(outcome.seconds for outcome in outcomes), 9),
        "seed": workload.run.seed,
        "runs": len(outcomes),
    }
    row |= _findings(outcomes)
    if any(interrupt.calls for interrupt in workload.interrupts):
        row["nested_calls"] = sum(outcome.nested_calls for outcome in outcomes)
        row["recursion_misses"] = sum(outcome.recursion_misses for outcome in outcomes)
    if len(outcomes) > 1:
        row |= {
            "calls_per_s_ci95": _interval([o.calls_per_s for o in outcomes]),
            "added_percent_of_one_cpu_ci95": _interval(
                [100 * cpus * o.added_share for o in outcomes]
            ),
            "utilisation_percent_ci95": _interval([100 * o.utilisation for o in outcomes]),
            "latency_mean_ns_ci95": _interval(
                [ns(o.latency.total / o.latency.count) for o in outcomes if o.latency.count]
            ),
            "latency_p99_ns_ci95": _interval([ns(o.latency.percentile(99)) for o in outcomes]),
        }
    return row


def _cycles(cost: CallCost, outcomes: Sequence[_Outcome]) -> dict[str, Value]:
    """Cycles per call: as found where that was simulated, hot otherwise."""
    found = [outcome.found for outcome in outcomes if outcome.found is not None]
    if not found:
        return {
            "cycles_per_call": round(cost.traced_cycles, 4),
            "cycles_over_untraced": round(cost.added_cycles, 4),
        }
    cycles = fmean(outcome.cycles for outcome in found)
    untraced = fmean(outcome.untraced_cycles for outcome in found)
    return {
        "cycles_per_call": round(cycles, 4),
        "cycles_over_untraced": round(cycles - untraced, 4),
        "hot_cycles_per_call": round(cost.traced_cycles, 4),
    }


_FOUND_IN = {
    "L2": "l1_misses",
    "L3": "l2_misses",
    "memory": "l3_misses",
    "second TLB": "l1_tlb_misses",
    "walk": "page_walks",
    "decode": "btb_misses",
}
"""Field of a row by where a call found what it missed; deeper ones are counted once."""


def _findings(outcomes: Sequence[_Outcome]) -> dict[str, Value]:
    """Misses by level, mispredicts and transfers per call; empty if all calls were hot."""
    found = [outcome.found for outcome in outcomes if outcome.found is not None]
    if not found:
        return {}
    means = dict.fromkeys(_FOUND_IN.values(), 0.0)
    for outcome in found:
        for (_, where), number in outcome.misses.items():
            if where in _FOUND_IN:
                means[_FOUND_IN[where]] += number / len(found)
    row: dict[str, Value] = {f"{name}_per_call": round(mean, 4) for name, mean in means.items()}
    row["mispredicts_per_call"] = round(fmean(outcome.mispredicts for outcome in found), 4)
    row["transfers_per_call"] = round(fmean(outcome.transfers for outcome in found), 4)
    return row


def _mean(
    outcomes: Sequence[_Outcome], value: Callable[[_Outcome], float], digits: int = 6
) -> float:
    return round(fmean(value(outcome) for outcome in outcomes), digits)


_STUDENT_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom."""


def _interval(values: Sequence[float]) -> float | None:
    """Half-width of the 95 % confidence interval of the mean of independent runs."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    # beyond the table the normal quantile, widened by the leading term of its expansion
    t = _STUDENT_95[freedom - 1] if freedom <= len(_STUDENT_95) else 1.96 + 2.4 / freedom
    return round(t * stdev(values) / math.sqrt(len(values)), 6)


def _records(workload: Workload, rows: Sequence[Mapping[str, Value]], complete: bool) -> Records:
    return Records(
        meta={
            "command": "load",
            "version": __version__,
            "workload": workload.workload.name,
            "description": workload.workload.description,
            "models": workload.workload.models,
            "source": workload.workload.source,
            "function": workload.function.prototype,
            "arrivals": type(workload.arrivals).__struct_config__.tag,
            "duration_s": workload.duration_s,
            "seed": workload.run.seed,
            "state": "hot" if workload.between_calls is None else "as found",
            "basis": BASIS if workload.between_calls is None else BASIS_FOUND,
            "complete": complete,
        },
        rows=tuple(rows),
    )
