"""What calls did not find in the first level: line by line, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tramposim.machine.trace import Trace
from tramposim.study.events import InstructionNames
from tramposim.study.parts import Places
from tramposim.timing.calls import TimedCall

__all__ = ["MissCost", "miss_costs"]


@dataclass(frozen=True, slots=True)
class MissCost:
    """A line, page or branch that calls had to wait for.

    `kind` and `found` as in `Miss`; `part` is the part of the call that wants it first, by
    `instruction` at `place` (function and offset). `per_call` times on average, `wait_cycles`
    beyond a hit each time. Waits overlap, and what is hidden behind others costs nothing: they
    do not sum to the call.
    """

    kind: str
    found: str
    address: int
    part: str
    instruction: str
    place: str
    per_call: float
    wait_cycles: float


def miss_costs(trace: Trace, calls: Iterable[TimedCall], places: Places) -> tuple[MissCost, ...]:
    """The misses of all calls in the order in which they are first met."""
    calls = tuple(calls)
    sums: dict[tuple[str, str, int], list[float]] = {}
    first: dict[tuple[str, str, int], tuple[str, str, str]] = {}
    names = InstructionNames(trace)
    for number, call in enumerate(calls):
        begin, end = int(trace.calls[number]), int(trace.calls[number + 1])
        pcs = [int(pc) for pc in trace.pcs[begin:end]]
        parts: dict[int, str] = {}
        for pc, (part, _, _) in zip(pcs, places.walk(pcs), strict=True):
            parts.setdefault(pc, part)
        for miss in call.misses:
            key = (miss.kind, miss.found, miss.address)
            first.setdefault(key, (parts[miss.pc], names(miss.pc), names.place(miss.pc)))
            total = sums.setdefault(key, [0, 0])
            total[0] += 1
            total[1] += miss.wait
    return tuple(
        MissCost(*key, *first[key], count / len(calls), waited / count)
        for key, (count, waited) in sums.items()
    )
