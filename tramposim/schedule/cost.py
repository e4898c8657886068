"""What a call costs: the protocol between the scheduler and whoever measured the calls.

The scheduler asks for the cost of a function's call once per run and multiplies; it never
invents a number. Measurements come from the caller (package `study`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tramposim.errors import InputError

__all__ = ["CallCost", "CostModel", "FixedCosts", "Nested", "Window"]


@dataclass(frozen=True, slots=True)
class CallCost:
    """Core cycles of one call of the traced function, back to back and hot.

    `untraced_cycles` with nothing attached, `traced_cycles` with the scenario attached; both
    from the calling instruction until the caller goes on.
    """

    untraced_cycles: float
    traced_cycles: float

    def __post_init__(self) -> None:
        for cycles in (self.untraced_cycles, self.traced_cycles):
            if not 0.0 < cycles < 1e12:
                raise InputError(f"a call of {cycles:g} cycles; a cost is positive and finite")

    @property
    def added_cycles(self) -> float:
        """What tracing adds to a call."""
        return self.traced_cycles - self.untraced_cycles


class CostModel(Protocol):
    """Gives the cost of a call of a function (by name) under the scenario it stands for."""

    def call_cost(self, function: str) -> CallCost:
        """Cost of one call; raises `InputError` for a function it does not know."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """Part of a hot traced call, in core cycles from its begin, in which programs run.

    A call that an interrupt makes in it skips `skipped` program runs and takes `cycles`.
    """

    begin: float
    end: float
    skipped: int
    cycles: float


@dataclass(frozen=True, slots=True)
class Nested:
    """What traced calls of interrupt handlers cost: `cycles`, or a window's if in one."""

    cycles: float
    windows: tuple[Window, ...] = ()

    def at(self, share: float, hot_cycles: float) -> tuple[float, int]:
        """(cycles, skipped runs) of a call made when `share` of a traced call is done."""
        place = share * hot_cycles
        for window in self.windows:
            if window.begin <= place < window.end:
                return window.cycles, window.skipped
        return self.cycles, 0


@dataclass(frozen=True, slots=True)
class FixedCosts:
    """A `CostModel` of given numbers, by function name."""

    costs: Mapping[str, CallCost]

    def call_cost(self, function: str) -> CallCost:
        """Cost of one call; raises `InputError` for a function without a number."""
        try:
            return self.costs[function]
        except KeyError:
            raise InputError(f"no cost is known for calls of {function!r}") from None
