"""How far a core can be believed: what its results hang on among its uncertain numbers.

Every number of a core file has a confidence. Those that nobody measured or documented for the
core are moved, one at a time, down and up by half of their value, and the same calls are timed
again: what then moves is what a measurement of that core should look at first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tramposim import __version__
from tramposim.errors import InputError
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.trace import Trace
from tramposim.spec import Kernel
from tramposim.study.measure import execute
from tramposim.study.records import Records, Value
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_FUNCTION, Subject
from tramposim.study.sweep import SCENARIOS
from tramposim.study.workload_schema import split_scenario
from tramposim.timing import STATES, Core, time_trace
from tramposim.timing.variant import Changed, numbers_of, with_value

__all__ = ["CONFIDENCES", "TOGETHER", "sensitivity"]

CONFIDENCES: Mapping[str, tuple[str, ...]] = {
    "low": ("low",),
    "medium": ("low", "medium"),
    "high": ("low", "medium", "high"),
}
"""Which numbers are moved, by the best confidence among them."""

TOGETHER = "all together"
"""What the row is called in which all numbers are where they lower, or raise, the cycles."""

_SHARE = 0.5
_WORTH = 0.01
"""Smallest change, relative to the cycles per call, that makes a row."""

_STATES = ("hot", "cold")
_PAIR, _SESSION = "fentry+fexit", "fsession"

_PASSES = 24
"""Passes over a trace after which a mean is good enough where no steady state is found."""

_MAY_BE_ZERO = (
    "_bubble",
    "_drain",
    "_hold",
    "_line",
    "_resteer",
    "_stall",
    "_switch",
    "_wait",
)
"""Ends of names of cycles and counts that can be zero; elsewhere zero is a unit that is not there,
which is no matter of degree."""

_WORDS = {"lru": "tree-plru", "tree-plru": "lru"}

Cycles = Mapping[str, float]
"""Cycles per call by scenario."""


@dataclass(frozen=True, slots=True)
class _Side:
    """A number at one of its other values, and what the calls then take in each state."""

    value: Changed
    cycles: Mapping[str, Cycles]


@dataclass(frozen=True, slots=True)
class _Moved:
    """A number of a core and its sides (none if no core can have it otherwise)."""

    group: str
    name: str
    value: Changed
    source: str
    confidence: str
    sides: tuple[_Side, ...] = field(default=())

    @property
    def title(self) -> str:
        """The number as the core's file names it."""
        return f"{self.group}.{self.name}"


def sensitivity(
    cores: Iterable[Core],
    confidence: str = "low",
    progress: Callable[[str], None] = lambda step: None,
) -> Records:
    """A row per core, starting state and number that moves a call by more than a hundredth.

    Moved are the numbers of at most that confidence, by half of their value or one, whichever
    is more (words and yes-or-no to the other one); the largest change is first. The row names
    the scenario that moves most; `fsession_to_pair_low` and `_high` are what becomes of the
    ratio of one fsession to the pair, both empty. The last row of a state has all numbers at
    once where each lowers the cycles, and where each raises them. `not_moved` of the meta data
    names numbers without another possible value.
    """
    if confidence not in CONFIDENCES:
        raise InputError(f"unknown confidence {confidence!r}; known: {', '.join(CONFIDENCES)}")
    rows: list[Mapping[str, Value]] = []
    fixed: list[str] = []
    moved_count: dict[str, int] = {}
    for core in cores:
        traces = _traces(core)
        base = _timed(core, traces)
        moved = []
        for number in _uncertain(core, CONFIDENCES[confidence]):
            progress(f"{core.name} {number.title}")
            moved.append(_move(core, number, traces))
        fixed += [f"{core.name} {number.title}" for number in moved if not number.sides]
        moved_count[core.name] = sum(1 for number in moved if number.sides)
        for state in _STATES:
            rows += _rows(core, state, base[state], moved, traces)
    return Records(
        meta={
            "command": "cores --sensitivity",
            "version": __version__,
            "confidence": confidence,
            "moved_percent": 100 * _SHARE,
            "least_percent": 100 * _WORTH,
            "moved": moved_count,
            "not_moved": fixed,
            "basis": "core cycles per call of the core model; "
            + "; ".join(f"{state}: {STATES[state]}" for state in _STATES),
        },
        rows=tuple(rows),
    )


def _traces(core: Core) -> dict[str, Trace]:
    """The calls that are timed, by scenario; they do not depend on the core's numbers."""
    prototype = parse_prototype(DEFAULT_FUNCTION)
    found = {}
    for words in SCENARIOS:
        scenario, body = split_scenario(words, "empty")
        subject = Subject(Kernel(core.arch), prototype, parse_scenario(scenario), body)
        found[words] = execute(subject).trace
    return found


def _timed(core: Core, traces: Mapping[str, Trace]) -> dict[str, Cycles]:
    """Cycles per call by state and scenario."""
    return {
        state: {
            words: time_trace(trace, core, state, most_passes=_PASSES).cycles_per_call
            for words, trace in traces.items()
        }
        for state in _STATES
    }


def _uncertain(core: Core, confidences: Sequence[str]) -> Iterator[_Moved]:
    for group, name, value, source, confidence in numbers_of(core):
        if confidence in confidences:
            yield _Moved(group, name, value, source, confidence)


def _others(name: str, value: Changed) -> tuple[Changed, ...]:
    """The values that a number is moved to."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, str):
        return (_WORDS[value],)
    least = 0 if name.endswith(_MAY_BE_ZERO) else 1
    if value < least:
        return ()
    step = max(1, math.ceil(value * _SHARE))
    return tuple(end for end in (max(value - step, least), value + step) if end != value)


def _move(core: Core, number: _Moved, traces: Mapping[str, Trace]) -> _Moved:
    sides = []
    for value in _others(number.name, number.value):
        try:
            other = with_value(core, number.group, number.name, value)
            sides.append(_Side(value, _timed(other, traces)))
        except (InputError, ValueError):
            # not a core: sizes that are no whole sets, buffers that are not built that large
            continue
    return replace(number, sides=tuple(sides))


def _rows(
    core: Core, state: str, base: Cycles, moved: Sequence[_Moved], traces: Mapping[str, Trace]
) -> list[Mapping[str, Value]]:
    """The rows of one starting state, largest change first, all numbers together last."""
    found: list[tuple[float, Mapping[str, Value]]] = []
    for number in moved:
        sides = [(side.value, side.cycles[state]) for side in number.sides]
        change, row = _row(core, state, base, sides)
        if change > _WORTH:
            named: dict[str, Value] = {
                "group": number.group,
                "name": number.name,
                "value": number.value,
                "confidence": number.confidence,
                "source": core.sources[number.source],
            }
            found.append((change, {**row, **named}))
    found.sort(key=lambda pair: -pair[0])
    rows = [row for _, row in found]
    if len(found) > 1:
        ends = [
            (word, _timed(_extreme(core, state, base, moved, sign), traces)[state])
            for word, sign in (("lowering", 1), ("raising", -1))
        ]
        rows.append({**_row(core, state, base, ends)[1], "name": TOGETHER})
    return rows


def _row(
    core: Core, state: str, base: Cycles, sides: Sequence[tuple[Changed, Cycles]]
) -> tuple[float, dict[str, Value]]:
    """The largest relative change of a scenario, and the row that tells it."""

    def change(words: str) -> float:
        return max((abs(c[words] / base[words] - 1) for _, c in sides), default=0.0)

    words = max(base, key=change)
    scenario, body = split_scenario(words, "empty")
    all_cycles = [base[words], *(cycles[words] for _, cycles in sides)]
    ratios = [c[_SESSION] / c[_PAIR] for c in (base, *(cycles for _, cycles in sides))]
    row: dict[str, Value] = {
        "core": core.name,
        "arch": core.arch.value,
        "core_error": core.error,
        "state": state,
        "scenario": scenario,
        "body": body,
        "cycles_per_call": round(base[words], 2),
        "cycles_low": round(min(all_cycles), 2),
        "cycles_high": round(max(all_cycles), 2),
        "change_percent": round(100 * change(words), 2),
        "fsession_to_pair": round(ratios[0], 4),
        "fsession_to_pair_low": round(min(ratios), 4),
        "fsession_to_pair_high": round(max(ratios), 4),
    }
    row["moved_to"] = ", ".join(str(value).lower() for value, _ in sides)
    return change(words), row


def _extreme(core: Core, state: str, base: Cycles, moved: Sequence[_Moved], sign: int) -> Core:
    """The core with every number where it lowers (`sign` 1) or raises (-1) the cycles most."""

    def total(cycles: Cycles) -> float:
        return sign * sum(cycles[words] / base[words] for words in base)

    for number in moved:
        best = min(number.sides, key=lambda side: total(side.cycles[state]), default=None)
        if best is None or total(best.cycles[state]) >= total(base):
            continue
        try:
            core = with_value(core, number.group, number.name, best.value)
        except InputError:
            continue
    return core
