"""Simulated time: integers of 2**-16 core cycles, so that every sum is exact."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tramposim.errors import InputError

__all__ = ["SUBCYCLES", "Clock"]

SUBCYCLES = 1 << 16
"""Units of simulated time per core cycle."""

_LAST = 1 << 62


@dataclass(frozen=True, slots=True)
class Clock:
    """The core clock of all CPUs, in Hz; constant (no frequency scaling)."""

    hz: float

    def __post_init__(self) -> None:
        if not 1e6 <= self.hz <= 1e11:
            raise InputError(f"a core clock of {self.hz:g} Hz; give it in GHz, for example 3.0")

    def from_cycles(self, cycles: float) -> int:
        """Subcycles of a number of core cycles."""
        return round(cycles * SUBCYCLES)

    def exact_from_seconds(self, seconds: float) -> Fraction:
        """Subcycles of a time in seconds, not rounded."""
        return Fraction(seconds) * Fraction(self.hz) * SUBCYCLES

    def from_seconds(self, seconds: float) -> int:
        """Subcycles of a time in seconds; `InputError` beyond what 62 bits hold (hours)."""
        time = round(self.exact_from_seconds(seconds))
        if not 0 <= time < _LAST:
            raise InputError(
                f"{seconds:g} s cannot be simulated at {self.hz / 1e9:g} GHz; "
                f"the longest time is {self.to_seconds(_LAST):,.0f} s"
            )
        return time

    def per_subcycle(self, rate_hz: float) -> int:
        """A rate per second as one per subcycle, in units of 2**-48."""
        return round(rate_hz * 2.0**48 / self.exact_from_seconds(1))

    def to_cycles(self, time: float) -> float:
        """Core cycles of a time in subcycles."""
        return time / SUBCYCLES

    def to_seconds(self, time: float) -> float:
        """Seconds of a time in subcycles."""
        return time / SUBCYCLES / self.hz
