"""Workloads: who calls the traced function, how often, on which machine.

A workload is a TOML file; `workloads/README.md` documents the keys. Everything in one is
checked when it is read, and every complaint is one line: file and line, key, remedy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    arrival_source,
)
from tramposim.schedule.clock import Clock
from tramposim.spec import Arch, Prototype
from tramposim.study.scenario import parse_scenario
from tramposim.study.toml import decode_toml, read_text, toml_place
from tramposim.units import parse_duration_s, parse_rate_hz

__all__ = [
    "Changes",
    "Interrupt",
    "Workload",
    "arrivals_of",
    "change_workload",
    "find_workload",
    "parse_workload",
    "read_workload",
    "require_range",
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


class ClosedLoopArrivals(_Table, frozen=True, tag_field="kind", tag="closed-loop"):
    """The next call follows the return of the previous one."""

    think_cycles: float = 0.0


class ReplayArrivals(_Table, frozen=True, tag_field="kind", tag="replay"):
    """Recorded times in seconds; every task replays them."""

    times: tuple[float, ...]


ArrivalTable = (
    PeriodicArrivals
    | PoissonArrivals
    | ParetoArrivals
    | OnOffArrivals
    | ClosedLoopArrivals
    | ReplayArrivals
)


class Interrupt(_Table, frozen=True):
    """`[[interrupts]]`: what takes every CPU away from its task."""

    name: str
    kind: Literal["periodic", "poisson"]
    rate: str
    cycles: float

    @property
    def arrivals(self) -> Arrivals:
        """When they come, on each CPU."""
        rate_hz = parse_rate_hz(self.rate)
        return Periodic(rate_hz) if self.kind == "periodic" else Poisson(rate_hz)


class Machine(_Table, frozen=True):
    """`[machine]`: CPUs, their clock, what they run."""

    clock_ghz: float | None = None
    cpus: int = 1
    tasks: int | None = None
    pinned: bool = True
    arch: tuple[Arch, ...] = (Arch.X86_64, Arch.ARM64)
    cores: dict[Arch, str] = {}
    kernel: str = "7.2"
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
        rate_hz = parse_rate_hz(self.arrivals.rate)
        return rate_hz * (self.machine.cpus if self.arrivals.per == "cpu" else 1)


def arrivals_of(workload: Workload) -> Arrivals:
    """When the calls of one task arrive: the machine's rate is shared evenly by its tasks."""
    table = workload.arrivals
    if isinstance(table, ClosedLoopArrivals):
        return ClosedLoop(table.think_cycles)
    if isinstance(table, ReplayArrivals):
        return Replay(table.times)
    rate_hz = (workload.rate_hz or 0.0) / workload.tasks
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


def find_workload(name: str) -> Path:
    """The file that `name` means: a path, or a workload by name.

    Names are looked up as NAME.toml in ./workloads, then among the installed ones. Raises
    `InputError` that lists what there is.
    """
    path = Path(name)
    if path.suffix == ".toml" or "/" in name or path.is_file():
        return path
    places = [Path("workloads"), Path(sys.prefix) / "share" / "tramposim" / "workloads"]
    for place in places:
        if (place / f"{name}.toml").is_file():
            return place / f"{name}.toml"
    known = sorted({found.stem for place in places for found in place.glob("*.toml")})
    hint = f"known are {', '.join(known)}" if known else "give the path of a .toml file"
    raise InputError(f"no such workload; {hint}", name)


def read_workload(path: Path) -> Workload:
    """The workload in a file; raises `InputError` naming file, line, key and remedy."""
    return parse_workload(read_text(path, "workload"), str(path))


def parse_workload(text: str, where: str) -> Workload:
    """A workload from TOML text; `where` names it in errors (`InputError`)."""
    workload = decode_toml(text, Workload, where)
    for key, error in _complaints(workload):
        raise InputError(f"{key}: {error}", toml_place(where, text, key))
    return workload


@dataclass(frozen=True, slots=True)
class Changes:
    """What replaces a workload's own values; None and empty leave them."""

    rate: str | None = None
    cpus: int | None = None
    duration: str | None = None
    seed: int | None = None
    scenarios: tuple[str, ...] = ()
    body: str | None = None
    archs: tuple[Arch, ...] = ()
    cores: Mapping[Arch, str] = field(default_factory=dict)
    kernel: str | None = None


def change_workload(workload: Workload, changes: Changes) -> Workload:
    """`workload` with `changes`; raises `InputError` naming the option for what is wrong.

    Cores named for architectures that the changes do not mention choose those.
    """
    replace = msgspec.structs.replace
    arrivals, machine, run = workload.arrivals, workload.machine, workload.run
    if changes.rate is not None:
        if isinstance(arrivals, ClosedLoopArrivals | ReplayArrivals):
            raise InputError(f"the arrivals of {workload.workload.name} have no rate", "--rate")
        arrivals = replace(arrivals, rate=changes.rate)
    if changes.cpus is not None:
        machine = replace(machine, cpus=changes.cpus)
    archs = changes.archs or tuple(changes.cores)
    if archs:
        machine = replace(machine, arch=archs)
    for arch, core in changes.cores.items():
        if arch not in machine.arch:
            raise InputError(f"{core} is no core of {', '.join(machine.arch)}", "--core")
    machine = replace(machine, cores=machine.cores | dict(changes.cores))
    if changes.kernel is not None:
        machine = replace(machine, kernel=changes.kernel)
    if changes.duration is not None:
        run = replace(run, duration=changes.duration)
    if changes.seed is not None:
        run = replace(run, seed=changes.seed)
    if changes.scenarios:
        run = replace(run, scenarios=changes.scenarios)
    if changes.body is not None:
        run = replace(run, body=changes.body)
    changed = replace(workload, arrivals=arrivals, machine=machine, run=run)
    for key, error in _complaints(changed):
        raise InputError(error, f"--{key.rpartition('.')[2].removesuffix('s')}")
    return changed


def _complaints(workload: Workload) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) for values of the right type that make no sense."""
    for key, check in _checks(workload).items():
        try:
            check()
        except InputError as error:
            yield key, str(error).removeprefix(f"{key.rpartition('.')[2]}: ")


def _checks(workload: Workload) -> dict[str, Callable[[], object]]:
    """By key: what raises `InputError` for a value of the right type that makes no sense."""
    machine, run, function = workload.machine, workload.run, workload.function
    interrupts = workload.interrupts
    return {
        "function.prototype": lambda: workload.prototype,
        "function.work_cycles": lambda: require_range(function.work_cycles, 0, 1e12),
        "machine.clock_ghz": lambda: require_range(
            1 if machine.clock_ghz is None else machine.clock_ghz, 0.001, 100
        ),
        "machine.cpus": lambda: require_range(machine.cpus, 1, 8192),
        "machine.tasks": lambda: require_range(workload.tasks, 1, 65536),
        "machine.tick_hz": lambda: require_range(machine.tick_hz, 0.1, 1e6),
        "machine.tick_cycles": lambda: require_range(machine.tick_cycles, 0, 1e9),
        "machine.switch_cycles": lambda: require_range(machine.switch_cycles, 0, 1e9),
        "machine.arch": lambda: _not_empty(machine.arch),
        "arrivals.rate": lambda: workload.rate_hz,
        "arrivals": lambda: arrival_source(
            arrivals_of(workload), Clock((machine.clock_ghz or 100) * 1e9), run.seed, 0
        ),
        "interrupts.rate": lambda: [interrupt.arrivals for interrupt in interrupts],
        "interrupts.cycles": lambda: [
            require_range(interrupt.cycles, 0, 1e12) for interrupt in interrupts
        ],
        "run.duration": lambda: workload.duration_s,
        "run.seed": lambda: require_range(run.seed, 0, 2**64 - 1),
        "run.scenarios": lambda: _not_empty(
            [split_scenario(word, run.body) for word in run.scenarios]
        ),
    }


def require_range(value: float, least: float, most: float) -> float:
    """`value`, if it lies between `least` and `most`; else raises `InputError`."""
    if not least <= value <= most:
        raise InputError(f"{value:g} is out of range; {least:g} to {most:g} make sense")
    return value


def _not_empty(values: Sequence[object]) -> None:
    if not values:
        raise InputError("the list is empty; leave the key out for the default")
