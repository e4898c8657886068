"""What a workload file may say: its tables and keys, as types.

`workloads/README.md` documents every key for users; reading and checking is the work of
`tramposim.study.workload`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tramposim.errors import InputError
from tramposim.kernel.declaration import parse_prototype
from tramposim.schedule.arrivals import (
    Arrivals,
    ClosedLoop,
    OnOff,
    Pareto,
    Periodic,
    Poisson,
    Replay,
    Stepped,
)
from tramposim.spec import Arch, Prototype
from tramposim.study.found import Population
from tramposim.study.scenario import parse_scenario
from tramposim.study.warmth import Background
from tramposim.units import parse_bytes, parse_duration_s, parse_rate_hz

__all__ = [
    "ArrivalTable",
    "ClosedLoopArrivals",
    "CompetingTask",
    "Interrupt",
    "OnOffArrivals",
    "ParetoArrivals",
    "PeriodicArrivals",
    "PoissonArrivals",
    "ReplayArrivals",
    "SteppedArrivals",
    "Workload",
    "arrivals_of",
    "split_scenario",
]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file: keys are exactly its fields."""


class About(_Table, frozen=True):
    """`[workload]`: what it is, what it models, where its numbers come from."""

    name: str
    description: str
    models: str
    source: str


class Function(_Table, frozen=True):
    """`[function]`: the traced function, and the cycles around its call."""

    prototype: str
    work_cycles: float = 0.0


class PeriodicArrivals(_Table, frozen=True, tag_field="kind", tag="periodic"):
    """A call every 1/rate."""

    rate: str
    per: Literal["cpu", "machine"] = "cpu"


class PoissonArrivals(_Table, frozen=True, tag_field="kind", tag="poisson"):
    """Independent calls."""

    rate: str
    per: Literal["cpu", "machine"] = "cpu"


class ParetoArrivals(_Table, frozen=True, tag_field="kind", tag="pareto"):
    """Heavy-tailed gaps."""

    rate: str
    shape: float = 1.5
    per: Literal["cpu", "machine"] = "cpu"


class OnOffArrivals(_Table, frozen=True, tag_field="kind", tag="on-off"):
    """Bursts and silences."""

    rate: str
    on: str
    off: str
    per: Literal["cpu", "machine"] = "cpu"


class Step(_Table, frozen=True):
    """One of `steps`: so long, so many calls per second (`"0"`: none)."""

    duration: str
    rate: str


class SteppedArrivals(_Table, frozen=True, tag_field="kind", tag="stepped"):
    """Independent calls at a rate that changes in steps, over and over."""

    steps: tuple[Step, ...]
    per: Literal["cpu", "machine"] = "cpu"

    @property
    def rates(self) -> tuple[tuple[float, float], ...]:
        """(seconds, calls per second) of each step."""
        return tuple(
            (
                parse_duration_s(step.duration),
                0.0 if step.rate.strip() == "0" else parse_rate_hz(step.rate),
            )
            for step in self.steps
        )

    @property
    def rate_hz(self) -> float:
        """Mean rate over a cycle of all steps; `InputError` if no step has calls."""
        calls = sum(duration * rate for duration, rate in self.rates)
        if not calls:
            raise InputError("at least one step must have calls")
        return calls / sum(duration for duration, _ in self.rates)


class ClosedLoopArrivals(_Table, frozen=True, tag_field="kind", tag="closed-loop"):
    """The next call follows the return of the previous one."""

    think_cycles: float = 0.0


class ReplayArrivals(_Table, frozen=True, tag_field="kind", tag="replay"):
    """Recorded calls: a file (read with the workload), or times in seconds.

    `times` is one list that every task replays, or a list per CPU, whose calls go to the
    tasks in turn.
    """

    times: tuple[float | tuple[float, ...], ...] = ()
    file: str | None = None
    event: str | None = None

    def of_task(self, task: int, tasks: int) -> tuple[float, ...]:
        """Times of the calls that task number `task` of `tasks` replays.

        Raises `InputError` if times and lists of times are mixed.
        """
        single = tuple(time for time in self.times if not isinstance(time, tuple))
        per_cpu = tuple(times for times in self.times if isinstance(times, tuple))
        if single and per_cpu:
            raise InputError("times are all numbers, or all lists of numbers (one per CPU)")
        return single or tuple(sorted(time for times in per_cpu[task::tasks] for time in times))


ArrivalTable = (
    PeriodicArrivals
    | PoissonArrivals
    | ParetoArrivals
    | OnOffArrivals
    | SteppedArrivals
    | ClosedLoopArrivals
    | ReplayArrivals
)


class Interrupt(_Table, frozen=True):
    """`[[interrupts]]`: what takes every CPU away from its task."""

    name: str
    kind: Literal["periodic", "poisson"]
    rate: str
    cycles: float
    calls: int = 0

    @property
    def arrivals(self) -> Arrivals:
        """When they come, on each CPU."""
        rate_hz = parse_rate_hz(self.rate)
        return Periodic(rate_hz) if self.kind == "periodic" else Poisson(rate_hz)


class CompetingTask(_Table, frozen=True):
    """`[[tasks]]`: tasks that call nothing traced, but want the CPU.

    Each gets work of `cycles` at `rate`, or has always some (`busy`). While it runs it passes
    `lines_per_s` lines of the background's working set through the caches.
    """

    name: str
    cycles: float
    kind: Literal["busy", "periodic", "poisson"] = "busy"
    rate: str | None = None
    count: int | None = None
    pinned: bool = True
    yields: bool = True
    lines_per_s: str = "0"

    @property
    def arrivals(self) -> Arrivals:
        """When a task gets work."""
        if self.kind == "busy":
            if self.rate is not None:
                raise InputError("a busy task has no rate: leave it out, or say kind")
            return ClosedLoop()
        if self.rate is None:
            raise InputError(f"a {self.kind} task needs a rate")
        rate_hz = parse_rate_hz(self.rate)
        return Periodic(rate_hz) if self.kind == "periodic" else Poisson(rate_hz)

    @property
    def lines_rate_hz(self) -> float:
        """Lines per second that it passes while it runs."""
        return 0.0 if self.lines_per_s.strip() == "0" else parse_rate_hz(self.lines_per_s)


class BackgroundTable(_Table, frozen=True):
    """`[background]`: what runs between the calls, as caches and TLBs see it."""

    lines_per_s: str
    footprint: str
    code_share: float = 0.4
    lines_per_page: int = 8
    branches_per_line: float = 1.0


class Functions(_Table, frozen=True):
    """`[functions]`: how many functions are traced, how calls spread over them and nest."""

    count: int = 1
    zipf: float = 1.0
    depth: int = 1
    fanout: int = 1
    recursion: float = 0.0


class Machine(_Table, frozen=True):
    """`[machine]`: CPUs, their clock, what they run."""

    clock_ghz: float | None = None
    cpus: int = 1
    tasks: int | None = None
    pinned: bool = True
    llc_cpus: int | None = None
    arch: tuple[Arch, ...] = (Arch.X86_64, Arch.ARM64)
    cores: dict[Arch, str] = {}
    kernel: str = "7.2"
    entry: str | None = None
    returns: str | None = None
    tick_hz: float = 250.0
    tick_cycles: float = 0.0
    switch_cycles: float = 0.0


class Run(_Table, frozen=True):
    """`[run]`: what is simulated, for how long."""

    duration: str = "1s"
    seed: int = 1
    body: str = "count"
    scenarios: tuple[str, ...] = (
        "untraced",
        "fentry",
        "fexit",
        "fentry+fexit",
        "fsession",
        "fsession+cookie",
    )


class Workload(_Table, frozen=True):
    """A whole workload file."""

    workload: About
    function: Function
    arrivals: ArrivalTable
    machine: Machine
    run: Run = Run()
    interrupts: tuple[Interrupt, ...] = ()
    competing: tuple[CompetingTask, ...] = msgspec.field(default=(), name="tasks")
    background: BackgroundTable | None = None
    functions: Functions = Functions()

    @property
    def between_calls(self) -> Background | None:
        """What runs between the calls; None if every call counts as hot."""
        table = self.background
        sharers = self.llc_cpus
        if table is None:
            single = self.population.count == self.population.calls == 1
            return None if single else Background(sharers=sharers)
        return Background(
            parse_rate_hz(table.lines_per_s, "background.lines_per_s"),
            parse_bytes(table.footprint, "background.footprint"),
            table.code_share,
            table.lines_per_page,
            table.branches_per_line,
            sharers,
        )

    @property
    def llc_cpus(self) -> int:
        """CPUs that share a last-level cache; all unless said otherwise."""
        given = self.machine.llc_cpus
        return self.machine.cpus if given is None else min(self.machine.cpus, given)

    @property
    def migrating(self) -> bool:
        """Whether tasks that call move between CPUs."""
        return self.machine.cpus > 1 and not self.machine.pinned

    @property
    def population(self) -> Population:
        """The traced functions."""
        table = self.functions
        return Population(table.count, table.zipf, table.depth, table.fanout, table.recursion)

    @property
    def prototype(self) -> Prototype:
        """The traced function."""
        return parse_prototype(self.function.prototype)

    @property
    def duration_s(self) -> float:
        """Simulated time."""
        return parse_duration_s(self.run.duration)

    @property
    def tasks(self) -> int:
        """Tasks that call the function; one per CPU unless said otherwise."""
        return self.machine.cpus if self.machine.tasks is None else self.machine.tasks

    @property
    def rate_hz(self) -> float | None:
        """Calls per second that are offered to the whole machine; None if not given as one."""
        if isinstance(self.arrivals, ClosedLoopArrivals | ReplayArrivals):
            return None
        if isinstance(self.arrivals, SteppedArrivals):
            rate_hz = self.arrivals.rate_hz
        else:
            rate_hz = parse_rate_hz(self.arrivals.rate)
        return rate_hz * (self.machine.cpus if self.arrivals.per == "cpu" else 1)


def arrivals_of(workload: Workload, task: int = 0) -> Arrivals:
    """When the calls of a task arrive: the machine's rate is shared evenly by its tasks."""
    table = workload.arrivals
    if isinstance(table, ClosedLoopArrivals):
        return ClosedLoop(table.think_cycles)
    if isinstance(table, ReplayArrivals):
        return Replay(table.of_task(task, workload.tasks))
    rate_hz = (workload.rate_hz or 0.0) / workload.tasks
    if isinstance(table, SteppedArrivals):
        share = rate_hz / table.rate_hz
        return Stepped(tuple((duration, rate * share) for duration, rate in table.rates))
    if isinstance(table, PeriodicArrivals):
        return Periodic(rate_hz)
    if isinstance(table, PoissonArrivals):
        return Poisson(rate_hz)
    if isinstance(table, ParetoArrivals):
        return Pareto(rate_hz, table.shape)
    return OnOff(rate_hz, parse_duration_s(table.on), parse_duration_s(table.off))


def split_scenario(word: str, body: str) -> tuple[str, str]:
    """(scenario, body) of `SCENARIO` or `SCENARIO:BODY`; `body` is the one if none is said.

    Raises `InputError` for words that are no scenario.
    """
    scenario, _, own = word.partition(":")
    return parse_scenario(scenario).word, own.strip() or body
