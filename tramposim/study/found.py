"""Calls that cost by what they find: what the scheduler needs for each CPU, and what came out."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tramposim._native.warmth import CpuCalls
from tramposim.errors import InputError
from tramposim.schedule.clock import Clock
from tramposim.schedule.contention import EVERY_CALL, Contended
from tramposim.study.warmth import Background, Warmth

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
    """What makes the calls of a scenario cost what they find."""

    traced: Warmth
    untraced: Warmth
    background: Background
    population: Population
    clock: Clock
    seed: int

    def on_cpu(self, cpu: int) -> CpuCalls:
        """The calls of one CPU, none made yet."""
        chances, aliases = alias_tables(
            [1.0 / (k + 1) ** self.population.zipf for k in range(self.population.count)]
        )
        rate = self.clock.per_subcycle(self.background.lines_per_s)
        return CpuCalls(
            self.traced.costs,
            self.untraced.costs,
            rate,
            self.background.footprint // 64,
            chances,
            aliases,
            self.population.depth,
            self.seed,
            _STREAMS + cpu,
            self.population.fanout,
            self.population.recursion,
        )

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
        uses: Counter[int] = Counter()
        before: Counter[int] = Counter()
        for cpu in cpus:
            traced, untraced = cpu.used
            uses.update(traced)
            before.update(untraced)
        for costs in (self.traced.costs, self.untraced.costs):
            if costs.failure is not None:
                raise costs.failure
        calls = sum(uses.values())
        if not calls:
            return Outcome(0, self.traced.hot_cycles, self.untraced.hot_cycles, {}, 0.0, 0.0)
        misses: Counter[tuple[str, str]] = Counter()
        mispredicts = cycles = 0.0
        for cell, count in uses.items():
            found = self.traced.call(cell)
            cycles += count * found.cycles
            mispredicts += count * found.mispredicts
            for kind, number in found.misses.items():
                misses[kind] += count * number
        untraced_cycles = sum(
            count * self.untraced.call(cell).cycles for cell, count in before.items()
        )
        cycles += sum(self.clock.to_cycles(cpu.shared.waited) for cpu in cpus)
        transfers = sum(
            cpu.shared.taken(group) * len(lines)
            for cpu in cpus
            for group, lines in enumerate(self.traced.shared.by_group)
        )
        return Outcome(
            calls,
            cycles / calls,
            untraced_cycles / calls,
            {kind: number / calls for kind, number in sorted(misses.items())},
            mispredicts / calls,
            transfers / calls,
        )


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
