"""Lines that several CPUs write: how often each finds them elsewhere, and waits for others.

Native batches run one CPU after the other, so that who wrote a line last is not known to the
cycle. What is known is how often each CPU called lately; writes of the others count as
independent of its own. A line that is on its way to one CPU is not to be had by another: they
queue for it, which mean value analysis of a closed network with one station tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tramposim._native.cpucalls import CpuCalls
from tramposim._native.rng import Generator

__all__ = ["BUCKETS", "EVERY_CALL", "TASK", "Contended", "Contention", "mean_wait"]

EVERY_CALL, BUCKETS, TASK = 0, 1, 2
"""`Groups` of `_native/sharing.pxd`."""

_STREAM = (1 << 33) + (1 << 32)
"""Stream of random numbers: behind those of flows, interrupts and CPUs."""

_ENOUGH = 64
"""Calls per CPU that a rate is told from; with fewer it is the mean since the beginning."""


@dataclass(frozen=True, slots=True)
class Contended:
    """What calls write that other CPUs write, too: lines of every call (`every_call`), and one of
    the `bucket_lines` lines that a hash map's buckets take (0: none). A line that another CPU
    wrote takes `transfer` subcycles to fetch."""

    transfer: int
    every_call: bool = False
    bucket_lines: int = 0


class Contention:
    """Tells the calls of every CPU what the other CPUs do to their lines.

    Each of the `tasks` threads, which begin on the CPUs in turn, has its key in a line that a
    hash with a random start decides, as the kernel's does whenever a map is made.
    """

    def __init__(
        self, contended: Contended, calls: Sequence[CpuCalls], tasks: int, seed: int
    ) -> None:
        self._contended = contended
        self._calls = calls
        self._then = 0
        self._made = [0] * len(calls)
        self._wait = 0.0
        self._waits = [0.0] * len(calls)
        random = Generator(seed, _STREAM)
        lines = [random.next_u64() % max(1, contended.bucket_lines) for _ in range(tasks)]
        self._shares = [
            {line: count / len(mine) for line, count in Counter(mine).items()}
            for mine in (lines[cpu :: len(calls)] for cpu in range(len(calls)))
        ]

    def learn(self, now: int) -> None:
        """The CPUs have run until `now` (subcycles, over 0): what they do from here on."""
        made = [calls.made for calls in self._calls]
        recent = [count - before for count, before in zip(made, self._made, strict=True)]
        enough = sum(recent) >= _ENOUGH * len(made)
        since = self._then if enough else 0
        rates = [count / (now - since) for count in (recent if enough else made)]
        if self._contended.every_call:
            self._contend_all(rates)
        if self._contended.bucket_lines:
            self._contend_near(rates)
        if enough:
            self._then, self._made = now, made

    def _contend_all(self, rates: Sequence[float]) -> None:
        """Lines of every call: all CPUs queue for them, as if each called at the mean rate."""
        total, active = sum(rates), sum(rate > 0 for rate in rates)
        if active > 1:
            self._wait = self._mean_wait(active, total / active, total - total / active, self._wait)
        for calls, rate in zip(self._calls, rates, strict=True):
            calls.shared.contend(EVERY_CALL, total - rate, round(self._wait))

    def _contend_near(self, rates: Sequence[float]) -> None:
        """Lines of buckets: the CPUs queue whose threads have their keys there."""
        writes: dict[int, float] = {}
        for shares, rate in zip(self._shares, rates, strict=True):
            for line, share in shares.items():
                writes[line] = writes.get(line, 0.0) + share * rate
        for cpu, (shares, rate) in enumerate(zip(self._shares, rates, strict=True)):
            other = sum(
                share * max(0.0, writes[line] - share * rate) for line, share in shares.items()
            )
            if rate and other:
                customers = 1 + min(len(rates) - 1, math.ceil(other / rate))
                self._waits[cpu] = self._mean_wait(customers, rate, other, self._waits[cpu])
            self._calls[cpu].shared.contend(BUCKETS, other, round(self._waits[cpu]))

    def _mean_wait(self, customers: int, rate: float, other: float, wait: float) -> float:
        """`mean_wait` of CPUs that call at `rate`, while the others do at `other` in all."""
        chance = 1.0 - math.exp(-other / rate)
        return mean_wait(self._contended.transfer, 1 / rate, chance, customers, wait)


def mean_wait(
    transfer: float, period: float, chance: float, customers: int, wait: float = 0.0
) -> float:
    """Mean wait for a line that `customers` CPUs want every `period`, with this `chance`.

    The line takes `transfer` each time; `wait` is what a CPU has waited so far, which is part of
    its period. Mean value analysis (Reiser and Lavenberg, J. ACM 27(2), 1980), with the mean
    residual of a service of constant length.
    """
    demand = chance * transfer
    think = max(0.0, period - chance * (transfer + wait))
    queue = busy = response = 0.0
    for number in range(1, customers + 1):
        # at its capacity the line is given away once every `demand`
        response = max(demand * (1.0 + queue - busy / 2), number * demand - think)
        rate = number / (response + think)
        queue, busy = rate * response, rate * demand
    return (response - demand) / chance if chance else 0.0
