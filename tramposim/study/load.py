"""What tracing costs at a call rate: a workload simulated under each scenario.

Every scenario of a workload sees the same arrivals; only the cost of a call differs. The
costs come from a `CallMeter`: the measurement that `compare` prints, hot, and where the workload
has a background or many functions, what the same call costs by what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from tramposim import __version__
from tramposim._native.cpucalls import CpuCalls
from tramposim._native.eventlog import EventLog
from tramposim.kernel.declaration import declare
from tramposim.schedule.clock import Clock
from tramposim.schedule.cost import CallCost, FixedCosts, Nested
from tramposim.schedule.simulate import Watcher, simulate
from tramposim.schedule.world import Competitor, Flow, Interrupts, Task, World, WorldResult
from tramposim.spec import Arch, Prototype
from tramposim.study.found import Finding
from tramposim.study.fullcheck import CHECKED_CALLS, check_costs
from tramposim.study.load_rows import RunOutcome, row_of, run_outcome
from tramposim.study.load_trace import (
    MOST_TRACED_EVENTS,
    TRACED_EVENTS,
    TraceSink,
    load_trace,
)
from tramposim.study.own import OwnPrograms
from tramposim.study.records import Records, Value
from tramposim.study.scenario import UNTRACED
from tramposim.study.warmth import Warmth
from tramposim.study.workload_schema import Workload, arrivals_of, split_scenario

__all__ = ["BASIS", "BASIS_FOUND", "CallMeter", "MeteredCall", "Progress", "load"]

BASIS_FOUND = (
    "every call costs what the core model takes for it in the state that it finds: caches, TLBs "
    "and branch targets as the background since the last call left them; lines that all CPUs "
    "write are fetched from the CPU that wrote them; service is first come, first served per task"
)

BASIS = (
    "every call is timed hot: caches, TLBs and branch predictors as after calls back to back, "
    "whatever the rate; cold misses of sparse calls, contention between CPUs and the work's "
    "own cache footprint are not in the numbers; service is first come, first served per task"
)

Progress = Callable[[str, float], bool]
"""Told what is being simulated and the share of all that is done; False stops there."""


@dataclass(frozen=True, slots=True)
class MeteredCall:
    """What one hot call costs, and how that was found (fields of a row: core, entry, ...)."""

    cycles: float
    facts: Mapping[str, Value]


class CallMeter(Protocol):
    """Where the cycles of a call come from, for one architecture, kernel and core."""

    @property
    def arch(self) -> Arch:
        """Architecture of the calls."""
        ...

    @property
    def clock_ghz(self) -> float:
        """Nominal clock of the core."""
        ...

    def call(self, scenario: str, body: str) -> MeteredCall:
        """One hot call with `scenario` of programs attached that do `body`."""
        ...

    def found(
        self, scenario: str, body: str, hot_cycles: float, alone: bool, migrating: bool
    ) -> Warmth:
        """The same call by what it finds; `hot_cycles`: what it takes hot, `alone`: no other
        function is traced, `migrating`: threads move between CPUs."""
        ...

    def nested(self, scenario: str, body: str) -> Nested:
        """The same call made by an interrupt handler."""
        ...


def load(
    workloads: Sequence[Workload],
    meters: Sequence[CallMeter],
    *,
    own: OwnPrograms | None = None,
    runs: int = 1,
    progress: Progress = lambda what, done: True,
    trace: TraceSink | None = None,
) -> Records:
    """Simulate variants of a workload on each meter's machine under each of its scenarios.

    With `own` a user's programs are attached, group by group, instead of the workload's
    scenarios; the meters must be of these. The variants differ in their rate (a curve over the
    call rate) or in how many functions are traced; the first one speaks for all in `meta`, and
    the costs of the one in the middle are checked. `runs` repeats with the following seeds;
    rows then carry means and the half-width of their 95 % confidence interval (`..._ci95`).
    When `progress` returns False the run ends with what was simulated (`meta["complete"]` is
    False). `trace` is given the first events of every scenario's first run.
    """
    if own is not None:
        workloads = [_calling(workload, own.traced.function.prototype) for workload in workloads]
    rows: list[Mapping[str, Value]] = []
    calls = [_Calls(meter) for meter in meters]
    cells = [
        (meter, workload, *scenario)
        for meter in calls
        for workload in workloads
        for scenario in (own.scenarios if own else _scenarios(workload))
    ]
    for index, (meter, workload, scenario, body) in enumerate(cells):

        def watch(what: str, done: float, index: int = index) -> bool:
            return progress(what, (index + done) / len(cells))

        name = f"{meter.meter.arch} {scenario} {body}"
        if not watch(name, 0.0):
            return _records(workloads[0], own, rows, complete=False)
        metered = meter.call(scenario, body)
        cost = CallCost(meter.call(UNTRACED, body).cycles, metered.cycles)
        clock = Clock((workload.machine.clock_ghz or meter.meter.clock_ghz) * 1e9)
        costs = _Costs(
            cost,
            meter.finding(workload, clock, scenario, body),
            meter.nested(workload, scenario, body),
        )
        room = max(100, min(TRACED_EVENTS, MOST_TRACED_EVENTS // len(cells)))
        log = EventLog(room) if trace is not None else None
        outcomes = _runs(workload, clock, costs, runs, name, watch, log)
        if trace is not None and log is not None:
            trace(load_trace(_title(name, workload), workload, clock, log))
        rows.append(
            {
                "arch": meter.meter.arch.value,
                **metered.facts,
                "scenario": scenario,
                "body": body,
                **row_of(workload, clock, cost, outcomes, costs.finding),
                **(
                    _checked(workload, clock, costs)
                    if workload is workloads[len(workloads) // 2]
                    else {}
                ),
            }
        )
        if not outcomes[-1].complete:
            return _records(workloads[0], own, rows, complete=False)
    return _records(workloads[0], own, rows, complete=True)


def _calling(workload: Workload, prototype: Prototype) -> Workload:
    """The workload with another function called instead of its own."""
    function = msgspec.structs.replace(workload.function, prototype=declare(prototype))
    return msgspec.structs.replace(workload, function=function)


def _scenarios(workload: Workload) -> list[tuple[str, str]]:
    """(scenario, body) of each of the workload's words."""
    return [split_scenario(word, workload.run.body) for word in workload.run.scenarios]


def _title(name: str, workload: Workload) -> str:
    """What tells a trace from those of other scenarios and variants."""
    rate = workload.rate_hz
    return name if rate is None else f"{name}, {rate:g} calls/s"


@dataclass(frozen=True, slots=True)
class _Costs:
    """What calls cost hot, what they cost by what they find, and in interrupts."""

    hot: CallCost
    finding: Finding | None
    nested: Nested | None


class _Calls:
    """The calls of one meter, each measured once."""

    def __init__(self, meter: CallMeter) -> None:
        self.meter = meter
        self._measured: dict[tuple[str, str], MeteredCall] = {}
        self._found: dict[tuple[str, str, bool, bool], Warmth] = {}

    def finding(self, workload: Workload, clock: Clock, scenario: str, body: str) -> Finding | None:
        """What makes calls cost what they find; None if the workload lets all be hot."""
        background = workload.between_calls
        if background is None:
            return None
        alone = workload.population.count == 1
        traced, untraced = (
            self._warmth(word, "empty" if word == UNTRACED else body, alone, workload.migrating)
            for word in (scenario, UNTRACED)
        )
        seed = workload.run.seed
        return Finding(traced, untraced, background, workload.population, clock, seed)

    def _warmth(self, scenario: str, body: str, alone: bool, migrating: bool) -> Warmth:
        key = scenario, body, alone, migrating
        if key not in self._found:
            hot = self.call(scenario, body).cycles
            self._found[key] = self.meter.found(scenario, body, hot, alone, migrating)
        return self._found[key]

    def nested(self, workload: Workload, scenario: str, body: str) -> Nested | None:
        """The cost of interrupt handlers' calls; None if they make none."""
        if not any(interrupt.calls for interrupt in workload.interrupts):
            return None
        return self.meter.nested(scenario, "empty" if scenario == UNTRACED else body)

    def call(self, scenario: str, body: str) -> MeteredCall:
        """The cost of a call; untraced calls have no programs, so no body."""
        key = (scenario, "empty" if scenario == UNTRACED else body)
        if key not in self._measured:
            self._measured[key] = self.meter.call(*key)
        return self._measured[key]


def _runs(
    workload: Workload,
    clock: Clock,
    costs: _Costs,
    runs: int,
    name: str,
    progress: Progress,
    log: EventLog | None,
) -> list[RunOutcome]:
    """One outcome per seed, fewer if the last one was cut short."""
    outcomes: list[RunOutcome] = []
    while len(outcomes) < runs and (not outcomes or outcomes[-1].complete):

        def watch(seconds: float, run: int = len(outcomes)) -> bool:
            return progress(
                f"{seconds:.3g} s of {workload.run.duration}, {name}",
                (run + seconds / workload.duration_s) / runs,
            )

        first = None if outcomes else log
        outcomes.append(_run(workload, clock, costs, len(outcomes), watch, first))
    return outcomes


def _run(
    workload: Workload,
    clock: Clock,
    costs: _Costs,
    run: int,
    watch: Watcher,
    log: EventLog | None,
) -> RunOutcome:
    world = _world(workload, clock, workload.run.seed + run)
    finding = replace(costs.finding, seed=world.seed) if costs.finding else None
    result = _simulated(workload, world, costs, finding, watch, log)
    return run_outcome(world, costs.hot, finding, result)


def _checked(workload: Workload, clock: Clock, costs: _Costs) -> dict[str, Value]:
    """How far memoised costs are from executed ones, on as many calls as are executed for it."""
    if costs.finding is None:
        return {}
    world = _world(workload, clock, workload.run.seed)
    busy = costs.hot.traced_cycles * workload.population.calls + workload.function.work_cycles
    rate = workload.rate_hz or workload.machine.cpus * clock.hz / busy
    seconds = CHECKED_CALLS / (rate * workload.population.calls)
    short = replace(world, duration_s=min(world.duration_s, seconds))

    def simulated(finding: Finding) -> Sequence[CpuCalls]:
        return _simulated(workload, short, costs, finding).found

    found = check_costs(costs.finding, simulated)
    if found is None:
        return {}
    return {
        "memo_error_percent": round(found.error_percent, 3),
        "memo_error_percent_ci95": round(found.interval, 3),
        "memo_calls": found.calls,
        "memo_executed_percent": round(100 * found.executed, 3),
    }


def _world(workload: Workload, clock: Clock, seed: int) -> World:
    machine, function = workload.machine, workload.prototype.name
    work_cycles = workload.function.work_cycles
    return World(
        clock=clock,
        cpus=machine.cpus,
        tasks=tuple(
            Task(
                (Flow(function, arrivals_of(workload, index), work_cycles),),
                index % machine.cpus,
                machine.pinned,
            )
            for index in range(workload.tasks)
        ),
        duration_s=workload.duration_s,
        seed=seed,
        tick_hz=machine.tick_hz,
        tick_cycles=machine.tick_cycles,
        switch_cycles=machine.switch_cycles,
        interrupts=tuple(
            Interrupts(interrupt.arrivals, interrupt.cycles, interrupt.calls)
            for interrupt in workload.interrupts
        ),
        competitors=tuple(_competitors(workload)),
    )


def _simulated(
    workload: Workload,
    world: World,
    costs: _Costs,
    finding: Finding | None,
    watch: Watcher | None = None,
    log: EventLog | None = None,
) -> WorldResult:
    return simulate(
        world,
        FixedCosts({workload.prototype.name: costs.hot}),
        watch,
        found=finding.machine() if finding else None,
        nested=costs.nested,
        contended=finding.contended if finding else None,
        log=log,
    )


def _competitors(workload: Workload) -> Iterator[Competitor]:
    """The tasks that compete with those that call: one per CPU unless said otherwise."""
    cpus = workload.machine.cpus
    for task in workload.competing:
        for number in range(cpus if task.count is None else task.count):
            yield Competitor(
                task.name,
                task.arrivals,
                task.cycles,
                number % cpus,
                task.pinned,
                task.yields,
                task.lines_rate_hz,
            )


def _records(
    workload: Workload,
    own: OwnPrograms | None,
    rows: Sequence[Mapping[str, Value]],
    complete: bool,
) -> Records:
    return Records(
        meta={
            "command": "load",
            "version": __version__,
            "workload": workload.workload.name,
            **({"programs": own.source} if own else {}),
            "description": workload.workload.description,
            "models": workload.workload.models,
            "source": workload.workload.source,
            "function": workload.function.prototype,
            "arrivals": type(workload.arrivals).__struct_config__.tag,
            "duration_s": workload.duration_s,
            "seed": workload.run.seed,
            "state": "hot" if workload.between_calls is None else "as found",
            "basis": BASIS if workload.between_calls is None else BASIS_FOUND,
            "complete": complete,
        },
        rows=tuple(rows),
    )
