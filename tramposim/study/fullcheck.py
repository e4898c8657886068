"""Memoised costs against the truth: the same calls simulated again, every one executed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from tramposim._native.cpucalls import CpuCalls
from tramposim.study.found import Finding

__all__ = ["CHECKED_CALLS", "FullCheck", "check_costs"]

CHECKED_CALLS = 4000
"""Calls that are executed one by one, on all CPUs together."""

_WARM_UP = 0.2
"""Share of the calls that only bring the CPUs into their usual state, cold ones among them."""

_BATCHES = 20

Simulation = Callable[[Finding], Sequence[CpuCalls]]
"""Simulates the workload for as many calls as are to be checked; gives each CPU's calls."""


@dataclass(frozen=True, slots=True)
class FullCheck:
    """Mean cycles of the same calls, looked up and executed, and how sure the difference is.

    `executed` is the share of calls that the look-up executed, too. `interval` is the half-width
    of the 95 % confidence interval of `error_percent`, from means of batches of calls.
    """

    calls: int
    memoised_cycles: float
    executed_cycles: float
    executed: float
    interval: float

    @property
    def error_percent(self) -> float:
        """How far the look-up is from the execution."""
        return 100 * (self.memoised_cycles / self.executed_cycles - 1)


def check_costs(finding: Finding, simulate: Simulation) -> FullCheck | None:
    """Simulate calls twice with the same seed: as costs were learnt, and executing every one.

    Arrivals, functions, interrupts, ticks and other CPUs are the same in both. None if
    there are no calls. Raises what executing raises.
    """
    chosen = replace(finding, log=CHECKED_CALLS)
    memoised = simulate(chosen)
    executed = simulate(replace(chosen, full=True))
    pairs: list[tuple[int, int]] = []
    for one, other in zip(memoised, executed, strict=True):
        costs = list(zip(one.costs, other.costs, strict=False))
        pairs += costs[round(len(costs) * _WARM_UP) :]
    for costs_of in (finding.traced.costs, finding.untraced.costs):
        if costs_of.failure is not None:
            raise costs_of.failure
    if not pairs:
        return None
    mean = fmean(truth for _, truth in pairs)
    to_cycles = finding.clock.to_cycles
    made = sum(cpu.made for cpu in memoised)
    return FullCheck(
        len(pairs),
        to_cycles(fmean(cost for cost, _ in pairs)),
        to_cycles(mean),
        sum(cpu.traced.executed for cpu in memoised) / made,
        100 * _half_width([cost - truth for cost, truth in pairs]) / mean,
    )


def _half_width(differences: Sequence[int]) -> float:
    """Of the 95 % confidence interval of the mean, by the method of batch means."""
    size = max(1, len(differences) // _BATCHES)
    means = [
        fmean(differences[at : at + size]) for at in range(0, len(differences) - size + 1, size)
    ]
    if len(means) < 2:
        return 0.0
    return 2.093 * stdev(means) / math.sqrt(len(means))
