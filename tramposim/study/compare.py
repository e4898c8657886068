"""The question: what does one fsession program cost versus separate fentry + fexit programs?

The grid of scenarios and bodies that `tramposim compare` measures, and the break-even that
follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tramposim import __version__
from tramposim.kernel.declaration import declare
from tramposim.spec import Kernel, Prototype
from tramposim.study.measure import Measurement, measure
from tramposim.study.records import Records, Value
from tramposim.study.scenario import UNTRACED, parse_scenario
from tramposim.study.subject import Subject
from tramposim.study.workload_schema import split_scenario
from tramposim.timing import STATES, Core

__all__ = ["GRID", "BreakEven", "break_even", "compare", "grid_of", "state_meta"]

STATELESS_BODIES = ("empty", "count")
STATELESS_SCENARIOS = (
    UNTRACED,
    "fentry",
    "fexit",
    "fentry+fexit",
    "fsession",
    "fsession+cookie",
)
STATE_PASSING = (
    ("fentry+fexit", "latency-hash"),
    ("fsession", "latency-hash"),
    ("fsession+cookie", "latency-cookie"),
)

GRID: tuple[tuple[str, str], ...] = (
    *((scenario, body) for body in STATELESS_BODIES for scenario in STATELESS_SCENARIOS),
    *STATE_PASSING,
)
"""(scenario, body) of every row, in the order of the table."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """How many cycles of state passing make fsession win, on one architecture and core.

    `cookie_extra_cycles`: what fsession+cookie costs over the pair while neither does any
    work (empty bodies); a pair that needs more cycles than that to pass its state loses.
    `hash_cycles` and `cookie_cycles`: whole calls of the latency programs with a hash map (as
    a pair) and with the session cookie.
    """

    arch: str
    core: str
    cookie_extra_cycles: float
    hash_cycles: float
    cookie_cycles: float

    @property
    def saved_cycles(self) -> float:
        """Cycles per call that the cookie saves over the pair with its hash map."""
        return self.hash_cycles - self.cookie_cycles

    @property
    def saved_share(self) -> float:
        """The saving as a share of the pair's call."""
        return self.saved_cycles / self.hash_cycles


def grid_of(words: Iterable[str], body: str | None = None) -> tuple[tuple[str, str], ...]:
    """The grid of the given SCENARIO or SCENARIO:BODY words, after the untraced call.

    `body` is that of words without one. Raises `InputError` for words that are no scenario.
    """
    cells = [(UNTRACED, body or "empty")]
    cells += [split_scenario(word, body or "empty") for word in words]
    return tuple(dict.fromkeys(cell for cell in cells if cell[0] != UNTRACED or cell == cells[0]))


def compare(
    kernels: Iterable[Kernel],
    cores: Mapping[str, Core],
    prototype: Prototype,
    grid: Iterable[tuple[str, str]] = GRID,
    progress: Callable[[str], None] = lambda text: None,
    state: str | None = None,
) -> Records:
    """Measure the grid on each kernel (with the core of its architecture).

    `cores` maps an architecture's name to its core. `progress` is told what is measured next.
    Calls begin in `state`; None: hot, and the cost of a cold call beside.
    Raises what building, executing and timing raise.
    """
    grid = tuple(grid)
    rows: list[Mapping[str, Value]] = []
    break_evens = []
    for kernel in kernels:
        core = cores[kernel.arch]
        measured: dict[tuple[str, str], Measurement] = {}
        for scenario, body in grid:
            progress(f"{kernel.arch} {scenario} {body}")
            subject = Subject(
                kernel,
                prototype,
                parse_scenario(scenario),
                body,
                state=state or "hot",
                cold=state is None,
            )
            measured[scenario, body] = measure(subject, core)
        rows += _rows(measured)
        found = break_even(measured.values())
        if found:
            break_evens.append(found)
    return Records(
        meta={
            "command": "compare",
            "version": __version__,
            "function": prototype.name,
            "prototype": declare(prototype),
            **state_meta(state),
            "break_even": [_break_even_record(found) for found in break_evens],
        },
        rows=tuple(rows),
    )


def state_meta(state: str | None) -> dict[str, str]:
    """What a record says of the starting state of its calls."""
    name = state or "hot"
    basis = f"core cycles per call of the core model, {name}: {STATES[name]}"
    if state is None:
        basis += f"; _cold: {STATES['cold']}"
    return {"state": name, "basis": basis}


def _rows(measured: Mapping[tuple[str, str], Measurement]) -> list[Mapping[str, Value]]:
    def like(scenario: str, body: str) -> Measurement | None:
        """The scenario with this kind of body (latency-hash, latency-cookie: one)."""
        kind = body.split("-")[0]
        found = (
            measurement
            for (word, name), measurement in measured.items()
            if word == scenario and (name.split("-")[0] == kind or scenario == UNTRACED)
        )
        return next(found, None)

    return [
        measurement.record(like(UNTRACED, body), like("fentry+fexit", body))
        for (_, body), measurement in measured.items()
    ]


def break_even(measured: Iterable[Measurement]) -> BreakEven | None:
    """The break-even of one kernel and core; None unless all four rows it needs are there."""
    by_key = {(found.subject.scenario.word, found.subject.body): found for found in measured}
    pair = by_key.get(("fentry+fexit", "empty"))
    cookie = by_key.get(("fsession+cookie", "empty"))
    with_hash = by_key.get(("fentry+fexit", "latency-hash"))
    with_cookie = by_key.get(("fsession+cookie", "latency-cookie"))
    if pair is None or cookie is None or with_hash is None or with_cookie is None:
        return None
    return BreakEven(
        arch=pair.subject.kernel.arch.value,
        core=pair.core.name,
        cookie_extra_cycles=cookie.cycles_per_call - pair.cycles_per_call,
        hash_cycles=with_hash.cycles_per_call,
        cookie_cycles=with_cookie.cycles_per_call,
    )


def _break_even_record(found: BreakEven) -> Mapping[str, str | float]:
    return {
        "arch": found.arch,
        "core": found.core,
        "cookie_extra_cycles": round(found.cookie_extra_cycles, 2),
        "hash_cycles": round(found.hash_cycles, 2),
        "cookie_cycles": round(found.cookie_cycles, 2),
        "saved_cycles": round(found.saved_cycles, 2),
        "saved_share": round(found.saved_share, 4),
    }
