"""What CPUs and tasks did in a simulated run of `load`, event by event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tramposim._native.eventlog import EventLog, What
from tramposim.schedule.clock import Clock
from tramposim.study.workload_schema import Workload

__all__ = [
    "MOST_TRACED_EVENTS",
    "TRACED_EVENTS",
    "LoadTrace",
    "TraceEvent",
    "TraceSink",
    "load_trace",
]

TRACED_EVENTS = 10_000
"""Events of a scenario that a trace holds, from the beginning of its first run."""

MOST_TRACED_EVENTS = 200_000
"""Events of all scenarios: as many as a viewer opens without a wait."""


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that had a CPU from `begin` to `end` (seconds).

    Of requests (`What.REQUEST`, `What.COMPETING`): when it arrived, how long it had been served
    before, how much of it from its begin on are the traced calls, whether it ended here.
    `number` is the task, or the kind of interrupt.
    """

    what: What
    cpu: int
    number: int
    begin: float
    end: float
    arrival: float
    into: float
    called: float
    done: bool


@dataclass(frozen=True, slots=True)
class LoadTrace:
    """The first events of a scenario's first run; not `complete` if there were more.

    `function` is traced; tasks and interrupts are named by their numbers.
    """

    title: str
    function: str
    tasks: tuple[str, ...]
    interrupts: tuple[str, ...]
    events: tuple[TraceEvent, ...]
    complete: bool


TraceSink = Callable[[LoadTrace], None]


def load_trace(title: str, workload: Workload, clock: Clock, log: EventLog) -> LoadTrace:
    """The logged events with the workload's names."""
    competing = [
        task.name
        for task in workload.competing
        for _ in range(workload.machine.cpus if task.count is None else task.count)
    ]
    seconds = clock.to_seconds
    events = tuple(
        TraceEvent(
            What(what), cpu, number, seconds(begin), seconds(end), seconds(arrival),
            seconds(into), seconds(called), bool(done),
        )
        for what, cpu, number, begin, end, arrival, into, called, done in log.take()
    )  # fmt: skip
    name = workload.prototype.name
    return LoadTrace(
        title,
        name,
        (*(f"{name} {number}" for number in range(workload.tasks)), *competing),
        tuple(interrupt.name for interrupt in workload.interrupts),
        tuple(sorted(events, key=lambda event: (event.begin, event.end))),
        not log.full,
    )
