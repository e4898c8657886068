"""A critical path in stretches that fit a page: runs of links of one part and one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tramposim.report.explained import Row, instruction_of, number, short_place

__all__ = ["Stretch", "stretches"]

_LEAST_SHARE = 0.01
_INSTRUCTION = 20
"""Characters of an instruction that is a stretch of its own."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Links that follow each other within one part of the call."""

    links: tuple[Row, ...]

    @property
    def part(self) -> str:
        """The part of the call."""
        return str(self.links[0]["part"])

    @property
    def cycles(self) -> float:
        """Cycles per call of all links."""
        return sum(number(link, "cycles_per_call") for link in self.links)

    @property
    def group(self) -> str:
        """The group of reasons that takes most of them."""
        sums = self._sums("group")
        return max(sums, key=lambda name: sums[name])

    @property
    def reasons(self) -> str:
        """The reason that takes most of them; two if it takes less than two thirds."""
        sums = self._sums("reason")
        largest = sorted(sums, key=lambda name: -sums[name])
        main = sums[largest[0]] * 3 >= 2 * self.cycles
        return ", ".join(largest[: 1 if main else 2])

    @property
    def where(self) -> str:
        """The instruction, or the functions from the first to the last."""
        first, last = (short_place(link) for link in (self.links[0], self.links[-1]))
        if first == last:
            return instruction_of(self.links[0], _INSTRUCTION)
        one, two = first.rpartition("+"), last.rpartition("+")
        return f"{first} to +{two[2]}" if one[0] == two[0] else f"{one[0]} to {two[0]}"

    def _sums(self, field: str) -> dict[str, float]:
        sums: dict[str, float] = {}
        for link in self.links:
            name = str(link[field])
            sums[name] = sums.get(name, 0.0) + number(link, "cycles_per_call")
        return sums


def stretches(links: Sequence[Row]) -> list[Stretch]:
    """The path's links in order, joined: those of one group, and short ones with what is beside
    them in the same part."""
    least = _LEAST_SHARE * sum(number(link, "cycles_per_call") for link in links)
    found: list[Stretch] = []
    for stretch in _runs(links):
        before = found[-1] if found else None
        if (
            before is not None
            and before.part == stretch.part
            and (before.group == stretch.group or min(before.cycles, stretch.cycles) < least)
        ):
            found[-1] = Stretch((*before.links, *stretch.links))
        else:
            found.append(stretch)
    return found


def _runs(links: Sequence[Row]) -> list[Stretch]:
    runs: list[list[Row]] = []
    for link in links:
        if runs and all(runs[-1][0][field] == link[field] for field in ("part", "group")):
            runs[-1].append(link)
        else:
            runs.append([link])
    return [Stretch(tuple(run)) for run in runs]
