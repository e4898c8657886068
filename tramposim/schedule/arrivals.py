"""When calls arrive: one frozen value per kind, turned into native sources.

A random source is seeded by (seed, stream): the same pair gives the same arrivals, so that
scenarios with different costs are compared under identical load.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from tramposim._native.arrivals import ArrivalSource
from tramposim.errors import InputError
from tramposim.schedule.clock import Clock

__all__ = [
    "Arrivals",
    "ClosedLoop",
    "OnOff",
    "Pareto",
    "Periodic",
    "Poisson",
    "Replay",
    "Stepped",
    "arrival_source",
]


@dataclass(frozen=True, slots=True)
class Periodic:
    """A call every 1/`rate_hz` seconds, the first at time 0."""

    rate_hz: float


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent calls: exponential gaps with mean 1/`rate_hz` seconds."""

    rate_hz: float


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """The next call comes `think_cycles` core cycles after the previous one returned."""

    think_cycles: float = 0.0


@dataclass(frozen=True, slots=True)
class OnOff:
    """Bursts (Markov-modulated Poisson): exponential bursts and silences of these means.

    `rate_hz` is the mean over bursts and silences together.
    """

    rate_hz: float
    on_s: float
    off_s: float

    @property
    def burst_rate_hz(self) -> float:
        """Rate during a burst."""
        return self.rate_hz * (self.on_s + self.off_s) / self.on_s


@dataclass(frozen=True, slots=True)
class Pareto:
    """Heavy-tailed gaps with mean 1/`rate_hz` seconds; `shape` over 1, tails heavier near 1."""

    rate_hz: float
    shape: float = 1.5


@dataclass(frozen=True, slots=True)
class Replay:
    """Recorded arrival times in seconds, ascending, from the beginning of the run."""

    times_s: Sequence[float]


@dataclass(frozen=True, slots=True)
class Stepped:
    """Independent calls at a rate that changes in steps (duration_s, rate_hz), repeated."""

    steps: Sequence[tuple[float, float]]


Arrivals = Periodic | Poisson | ClosedLoop | OnOff | Pareto | Replay | Stepped


def arrival_source(arrivals: Arrivals, clock: Clock, seed: int, stream: int) -> ArrivalSource:
    """The native source for `arrivals`; raises `InputError` for rates a CPU cannot have."""
    try:
        return _source(arrivals, clock, seed & (1 << 64) - 1, stream)
    except (ValueError, OverflowError) as error:
        raise InputError(str(error), "arrivals") from error


def _source(arrivals: Arrivals, clock: Clock, seed: int, stream: int) -> ArrivalSource:
    if isinstance(arrivals, ClosedLoop):
        return ArrivalSource.closed(clock.from_cycles(arrivals.think_cycles))
    if isinstance(arrivals, Replay):
        return ArrivalSource.replay(array("q", map(clock.from_seconds, arrivals.times_s)))
    if isinstance(arrivals, OnOff):
        gap = _gap(arrivals.burst_rate_hz, clock)
        on, off = (float(clock.exact_from_seconds(s)) for s in (arrivals.on_s, arrivals.off_s))
        return ArrivalSource.on_off(float(gap), on, off, seed, stream)
    if isinstance(arrivals, Stepped):
        ends = accumulate(duration for duration, _ in arrivals.steps)
        means = (float(_gap(rate, clock)) if rate else 0.0 for _, rate in arrivals.steps)
        return ArrivalSource.stepped(
            array("q", map(clock.from_seconds, ends)), array("d", means), seed, stream
        )
    gap = _gap(arrivals.rate_hz, clock)
    if isinstance(arrivals, Periodic):
        return ArrivalSource.periodic(int(gap), int(gap % 1 * (1 << 64)))
    if isinstance(arrivals, Poisson):
        return ArrivalSource.poisson(float(gap), seed, stream)
    return ArrivalSource.pareto(float(gap), arrivals.shape, seed, stream)


def _gap(rate_hz: float, clock: Clock) -> Fraction:
    """Mean gap in subcycles of a rate in calls per second."""
    if not 0.0 < rate_hz <= clock.hz:
        raise InputError(
            f"a rate of {rate_hz:g} calls/s on one CPU; it must be positive and at most "
            f"one call per cycle ({clock.hz:g}/s)",
            "arrivals",
        )
    return clock.exact_from_seconds(1) / Fraction(rate_hz)
