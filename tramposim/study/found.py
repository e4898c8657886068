"""Calls that cost by what they find: what the scheduler needs for each CPU, and what came out."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tramposim._native.corestate import LastLevel
from tramposim._native.cpucalls import CpuCalls
from tramposim._native.warmth import CallsOf
from tramposim.errors import InputError
from tramposim.schedule.clock import Clock
from tramposim.schedule.contention import EVERY_CALL, Contended
from tramposim.study.warmth import Background, Warmth, passing
from tramposim.timing.calls import miss_name

__all__ = ["Finding", "Outcome", "Population", "alias_tables"]

_STREAMS = 1 << 33
"""Streams of random numbers of CPUs' calls: behind those of flows and interrupts."""


@dataclass(frozen=True, slots=True)
class Population:
    """The traced functions: how many, how unequally popular, and how deep calls nest.

    Function k of `count` is called in proportion to 1 / (k + 1) ** `zipf`; every arrival makes a
    call, which makes `fanout` calls, and so on, `depth` deep. The share `recursion` of the nested
    calls are of their caller itself.
    """

    count: int = 1
    zipf: float = 1.0
    depth: int = 1
    fanout: int = 1
    recursion: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 100_000 or not 1 <= self.depth <= 64:
            raise InputError("1 to 100,000 functions, nested 1 to 64 deep")
        if self.fanout < 1 or self.calls > 4096:
            raise InputError("an arrival makes 1 to 4,096 calls, fanout ** level on each level")
        if not 0 <= self.recursion < 1:
            raise InputError("the share of recursive calls is 0 to below 1")
        if not 0 <= self.zipf <= 4:
            raise InputError("an exponent of Zipf's law is 0 (all equal) to 4")

    @property
    def calls(self) -> int:
        """Traced calls of an arrival."""
        return sum(self.fanout**level for level in range(self.depth))


def alias_tables(weights: Sequence[float]) -> tuple[array[int], array[int]]:
    """Walker's alias tables of a discrete distribution: chances (2**-64) and aliases.

    Vose's method (IEEE Trans. Software Eng. 17(9), 1991), with additions in a fixed order.
    """
    total = sum(weights)
    scaled = [weight * len(weights) / total for weight in weights]
    small = [k for k, weight in enumerate(scaled) if weight < 1.0]
    large = [k for k, weight in enumerate(scaled) if weight >= 1.0]
    chances = array("Q", [(1 << 64) - 1] * len(weights))
    aliases = array("i", range(len(weights)))
    while small and large:
        low, high = small.pop(), large[-1]
        chances[low] = min(int(scaled[low] * 2.0**64), (1 << 64) - 1)
        aliases[low] = high
        scaled[high] = scaled[high] + scaled[low] - 1.0
        if scaled[high] < 1.0:
            small.append(large.pop())
    return chances, aliases


@dataclass(frozen=True, slots=True)
class Finding:
    """What makes the calls of a scenario cost what they find.

    `full`: every traced call is executed. The costs of each CPU's first `log` calls are kept.
    """

    traced: Warmth
    untraced: Warmth
    background: Background
    population: Population
    clock: Clock
    seed: int
    full: bool = False
    log: int = 0

    def machine(self) -> Callable[[int], CpuCalls]:
        """Gives the calls of each CPU of a machine on which none was made yet."""
        background, population = self.background, self.population
        passed = passing(background, self.traced.core, self.clock)
        chances, aliases = alias_tables(
            [1.0 / (k + 1) ** population.zipf for k in range(population.count)]
        )
        last_levels: dict[tuple[int, bool], LastLevel] = {}

        def calls_of(warmth: Warmth, number: int, traced: bool) -> CallsOf:
            key = number // background.sharers, traced
            if key not in last_levels:
                last_levels[key] = warmth.new_last_level()
            return warmth.on_cpu(
                number,
                background.sharers,
                last_levels[key],
                passed,
                population.count == 1,
                self.full and traced,
            )

        def on_cpu(number: int) -> CpuCalls:
            return CpuCalls(
                calls_of(self.traced, number, True),
                calls_of(self.untraced, number, False),
                passed,
                chances,
                aliases,
                _scatter(population.count),
                population.depth,
                self.seed,
                _STREAMS + number,
                population.fanout,
                population.recursion,
                self.log,
            )

        return on_cpu

    @property
    def contended(self) -> Contended | None:
        """What the scheduler has to know of lines that several CPUs write, if there are any."""
        shared = self.traced.shared
        every_call = len(shared.by_group[EVERY_CALL]) > 0
        if not every_call and not shared.bucket_lines:
            return None
        transfer = self.clock.from_cycles(self.traced.transfer_cycles)
        return Contended(transfer, every_call, shared.bucket_lines)

    def outcome(self, cpus: Sequence[CpuCalls]) -> Outcome:
        """What all calls found on all CPUs, per call."""
        for costs in (self.traced.costs, self.untraced.costs):
            if costs.failure is not None:
                raise costs.failure
        calls = sum(cpu.made for cpu in cpus)
        if not calls:
            return Outcome(0, self.traced.hot_cycles, self.untraced.hot_cycles, {}, 0.0, 0.0)
        misses: Counter[tuple[str, str]] = Counter()
        for cpu in cpus:
            for (kind, level), number in cpu.traced.found.items():
                misses[miss_name(kind, level)] += number
        traced = sum(cpu.traced.subcycles + cpu.shared.waited for cpu in cpus)
        untraced = sum(cpu.untraced.subcycles for cpu in cpus)
        transfers = sum(
            cpu.shared.taken(group) * len(lines)
            for cpu in cpus
            for group, lines in enumerate(self.traced.shared.by_group)
        )
        return Outcome(
            calls,
            self.clock.to_cycles(traced) / calls,
            self.clock.to_cycles(untraced) / calls,
            {kind: number / calls for kind, number in sorted(misses.items())},
            sum(cpu.traced.mispredicts for cpu in cpus) / calls,
            transfers / calls,
        )


def _scatter(count: int) -> int:
    """A step that visits all of `count` functions: popular ones do not lie side by side."""
    step = round(count * 0.618) or 1
    while math.gcd(step, count) != 1:
        step += 1
    return step


@dataclass(frozen=True, slots=True)
class Outcome:
    """Means per call: cycles traced and as it would have been untraced, misses, transfers.

    `misses` are by (kind of thing, where it was found); `transfers` are lines that another
    CPU had written.
    """

    calls: int
    cycles: float
    untraced_cycles: float
    misses: dict[tuple[str, str], float]
    mispredicts: float
    transfers: float
