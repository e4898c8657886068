"""The row of a scenario at a call rate: what its simulated runs say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tramposim._native.histogram import LatencyHistogram
from tramposim.schedule.clock import Clock
from tramposim.schedule.cost import CallCost
from tramposim.schedule.world import World, WorldResult
from tramposim.study.found import Finding, Outcome
from tramposim.study.records import Value
from tramposim.study.workload_schema import Workload

__all__ = ["RunOutcome", "row_of", "run_outcome"]

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "p99_99": 99.99}

SATURATED = 0.999
"""A CPU busier than this has no idle time left: its queue grows without end."""

BEHIND = 0.05
"""Calls that lag by more than this share of the time do not catch up with what arrives."""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """One run (one seed) of a scenario, shares of the time of all CPUs.

    `utilisation` by calls and their work, `taken` by interrupts, ticks and switches, `competing`
    by tasks that make no calls; `added_share` is what tracing added to the calls.
    """

    calls: int
    seconds: float
    cpus: int
    utilisation: float
    taken: float
    competing: float
    added_share: float
    latency: LatencyHistogram
    behind_s: float
    complete: bool
    found: Outcome | None = None
    nested_calls: int = 0
    recursion_misses: int = 0

    @property
    def calls_per_s(self) -> float:
        """Calls completed per second."""
        return self.calls / self.seconds if self.seconds else 0.0


def run_outcome(
    world: World, cost: CallCost, finding: Finding | None, result: WorldResult
) -> RunOutcome:
    """What a simulated world says of the scenario whose calls cost `cost`."""
    (flow,) = result.flows
    capacity = result.elapsed * world.cpus
    found = finding.outcome(result.found) if finding else None
    if found is None:
        added = flow.calls * world.clock.from_cycles(cost.added_cycles)
    else:
        added = found.calls * world.clock.from_cycles(found.cycles - found.untraced_cycles)
    return RunOutcome(
        calls=flow.calls,
        seconds=world.clock.to_seconds(result.elapsed),
        cpus=world.cpus,
        utilisation=sum(cpu.busy for cpu in result.cpus) / capacity if capacity else 0.0,
        taken=sum(cpu.taken for cpu in result.cpus) / capacity if capacity else 0.0,
        competing=sum(cpu.competing for cpu in result.cpus) / capacity if capacity else 0.0,
        added_share=added / capacity if capacity else 0.0,
        latency=flow.latency,
        behind_s=world.clock.to_seconds(result.behind),
        complete=result.complete,
        found=found,
        nested_calls=result.nested_calls,
        recursion_misses=result.recursion_misses,
    )


def row_of(
    workload: Workload,
    clock: Clock,
    cost: CallCost,
    outcomes: Sequence[RunOutcome],
    finding: Finding | None = None,
) -> dict[str, Value]:
    """Fields of a row: means over the outcomes, with intervals if there are several."""
    cpus, rate_hz = workload.machine.cpus, workload.rate_hz
    service = workload.population.calls * cost.traced_cycles + workload.function.work_cycles
    latency = LatencyHistogram()
    for outcome in outcomes:
        latency.merge(outcome.latency)
    taken = fmean(outcome.taken for outcome in outcomes)
    most = min(cpus, workload.tasks) * clock.hz / service * (1 - taken)
    contended = finding.contended if finding is not None and cpus > 1 else None
    if contended is not None and contended.every_call:
        # a line that every call writes goes from CPU to CPU, one at a time
        most = min(most, 1 / clock.to_seconds(contended.transfer) / workload.population.calls)
    busy = taken + fmean(outcome.utilisation for outcome in outcomes)

    def ns(time: float) -> float:
        return round(clock.to_seconds(time) * 1e9, 2)

    row: dict[str, Value] = {
        "cpus": cpus,
        "functions": workload.population.count,
        "clock_ghz": clock.hz / 1e9,
        "offered_calls_per_s": rate_hz,
        "calls_per_arrival": workload.population.calls,
        "calls": sum(outcome.calls for outcome in outcomes),
        "calls_per_s": _mean(outcomes, lambda outcome: outcome.calls_per_s, 3),
        **_cycles(cost, outcomes),
        "work_cycles_per_call": workload.function.work_cycles,
        "added_percent_of_one_cpu": _mean(outcomes, lambda o: 100 * cpus * o.added_share),
        "added_percent_of_all_cpus": _mean(outcomes, lambda o: 100 * o.added_share),
        "utilisation_percent": _mean(outcomes, lambda o: 100 * o.utilisation),
        "interrupted_percent": _mean(outcomes, lambda o: 100 * o.taken),
        "saturated": busy > SATURATED or _is_starved(outcomes),
        "behind_s": round(max(outcome.behind_s for outcome in outcomes), 9),
        "saturation_calls_per_s": round(most, 3),
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
    if workload.competing:
        row["competing_percent"] = _mean(outcomes, lambda o: 100 * o.competing)
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


def _is_starved(outcomes: Sequence[RunOutcome]) -> bool:
    """Whether calls fall behind because tasks that compete take all that they leave."""
    return any(
        outcome.utilisation + outcome.taken + outcome.competing > SATURATED
        and outcome.behind_s > BEHIND * outcome.seconds
        for outcome in outcomes
    )


def _cycles(cost: CallCost, outcomes: Sequence[RunOutcome]) -> dict[str, Value]:
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


def _findings(outcomes: Sequence[RunOutcome]) -> dict[str, Value]:
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
    outcomes: Sequence[RunOutcome], value: Callable[[RunOutcome], float], digits: int = 6
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
