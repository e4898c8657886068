"""A world to simulate and what its simulation gives: frozen values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field

from tramposim._native.cpucalls import CpuCalls
from tramposim._native.histogram import LatencyHistogram
from tramposim.errors import InputError
from tramposim.schedule.arrivals import Arrivals, ClosedLoop
from tramposim.schedule.clock import Clock

__all__ = [
    "Competitor",
    "CpuResult",
    "Flow",
    "FlowResult",
    "Interrupts",
    "Task",
    "World",
    "WorldResult",
]

MOST_CPUS = 8192
"""As many as Linux's NR_CPUS allows on x86_64."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Calls of one traced function by a task.

    `work_cycles` are what the CPU spends per call besides the call itself: the rest of the
    packet, request or loop iteration that the call is part of.
    """

    function: str
    arrivals: Arrivals
    work_cycles: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    """A context that serves its calls in the order of arrival.

    `cpu` is the CPU that it begins on; a pinned task stays there, another one may be pulled
    by a CPU without work.
    """

    flows: tuple[Flow, ...]
    cpu: int
    pinned: bool = True


@dataclass(frozen=True, slots=True)
class Competitor:
    """A task that makes no traced calls, but wants the CPU: each arrival is `cycles` of work.

    While it runs it passes `lines_per_s` lines through the caches. If it `yields`, a task that
    calls gets the CPU as soon as it has work; else at the next tick or when this one has none.
    """

    name: str
    arrivals: Arrivals
    cycles: float
    cpu: int
    pinned: bool = True
    yields: bool = True
    lines_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Interrupts:
    """What takes a CPU away from its task: each arrival takes `cycles` core cycles.

    The handler calls the traced function `calls` times, which takes more.
    """

    arrivals: Arrivals
    cycles: float
    calls: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.arrivals, ClosedLoop):
            raise InputError("interrupts come from outside: they cannot arrive in a closed loop")


@dataclass(frozen=True, slots=True)
class World:
    """CPUs of one clock, their tasks and interrupts, and how long to watch them.

    `tick_hz` is the scheduler tick: a scheduling point that takes `tick_cycles`; a switch
    from one task to another takes `switch_cycles`.
    """

    clock: Clock
    cpus: int
    tasks: tuple[Task, ...]
    duration_s: float
    seed: int = 1
    tick_hz: float = 250.0
    tick_cycles: float = 0.0
    switch_cycles: float = 0.0
    interrupts: tuple[Interrupts, ...] = field(default=())
    competitors: tuple[Competitor, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= MOST_CPUS:
            raise InputError(f"{self.cpus} CPUs; 1 to {MOST_CPUS} can be simulated")
        placed = [task.cpu for task in self.tasks] + [task.cpu for task in self.competitors]
        for cpu in placed:
            if not 0 <= cpu < self.cpus:
                raise InputError(f"a task on CPU {cpu} of {self.cpus}; CPUs count from 0")
        if not 0.1 <= self.tick_hz <= 1e6:
            raise InputError(f"a tick of {self.tick_hz:g} Hz; Linux ticks at 100 to 1000 Hz")


@dataclass(frozen=True, slots=True)
class FlowResult:
    """Completed calls of one function, all tasks together.

    `latency` counts subcycles from arrival to completion; `added_cycles` is the part of a
    call's cycles that tracing adds.
    """

    function: str
    calls: int
    latency: LatencyHistogram
    added_cycles: float


@dataclass(frozen=True, slots=True)
class CpuResult:
    """How one CPU spent its time, in subcycles; the rest was idle.

    `busy` with calls and their work, `taken` by interrupts, ticks and task switches, `competing`
    by tasks that make no calls.
    """

    busy: int
    taken: int
    competing: int = 0


@dataclass(frozen=True, slots=True)
class WorldResult:
    """What happened in `elapsed` subcycles; not `complete` if it was cut short.

    `behind` is by how much the queue furthest behind lags: the time since the arrival of
    its oldest call not yet begun. Interrupt handlers made `nested_calls`; `recursion_misses`
    are the program runs that were skipped because the program was running already. `found`
    knows what the calls of each CPU found, where that was simulated.
    """

    elapsed: int
    cpus: tuple[CpuResult, ...]
    flows: tuple[FlowResult, ...]
    switches: int
    migrations: int
    behind: int
    complete: bool
    nested_calls: int = 0
    recursion_misses: int = 0
    found: tuple[CpuCalls, ...] = ()
