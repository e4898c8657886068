"""Workloads: who calls the traced function, how often, on which machine.

A workload is a TOML file; `workloads/README.md` documents the keys. Everything in one is
checked when it is read, and every complaint is one line: file and line, key, remedy.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from tramposim.errors import InputError, TramposimError
from tramposim.kernel.versions import rules_for
from tramposim.schedule.arrivals import arrival_source
from tramposim.schedule.clock import Clock
from tramposim.spec import Arch
from tramposim.study.bodies import programs_of
from tramposim.study.kernels import kernel_of
from tramposim.study.recorded import read_recording
from tramposim.study.scenario import parse_scenario
from tramposim.study.toml import decode_toml, read_text, toml_place
from tramposim.study.workload_schema import (
    ClosedLoopArrivals,
    CompetingTask,
    ReplayArrivals,
    SteppedArrivals,
    Workload,
    arrivals_of,
    split_scenario,
)
from tramposim.timing import load_core

__all__ = [
    "Changes",
    "change_workload",
    "cores_by_arch",
    "curve_workloads",
    "find_workload",
    "known_workloads",
    "parse_workload",
    "read_workload",
]


def find_workload(name: str) -> Path:
    """The file that `name` means: a path, or a workload by name.

    Names are looked up as NAME.toml in ./workloads, then among the installed ones (share/ of
    the environment or of the user), then in the source tree that the package runs from.
    Raises `InputError` that lists what there is.
    """
    path = Path(name)
    if path.suffix == ".toml" or "/" in name or path.is_file():
        return path
    known = known_workloads()
    if name not in known:
        hint = f"known are {', '.join(known)}" if known else "give the path of a .toml file"
        raise InputError(f"no such workload; {hint}", name)
    return known[name]


def known_workloads() -> dict[str, Path]:
    """The file of every workload that can be given by name, sorted by name."""
    found: dict[str, Path] = {}
    for place in _places():
        for path in place.glob("*.toml"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _places() -> list[Path]:
    installed = [
        sysconfig.get_path("data"),
        sysconfig.get_path("data", sysconfig.get_preferred_scheme("user")),
    ]
    return [
        Path("workloads"),
        *(Path(place) / "share" / "tramposim" / "workloads" for place in installed),
        Path(__file__).parents[2] / "workloads",
    ]


def read_workload(path: Path) -> Workload:
    """The workload in a file; raises `InputError` naming file, line, key and remedy.

    A recording that it names is read too, relative to the workload's own folder.
    """
    return parse_workload(read_text(path, "workload"), str(path), path.parent)


def parse_workload(text: str, where: str, folder: Path | None = None) -> Workload:
    """A workload from TOML text; `where` names it in errors (`InputError`).

    `folder` is where the recording that it may name is looked up.
    """
    workload = decode_toml(text, Workload, where)
    arrivals = workload.arrivals
    if isinstance(arrivals, ReplayArrivals) and arrivals.file is not None:
        if arrivals.times:
            place = toml_place(where, text, "arrivals.times")
            raise InputError("arrivals.times: give either a file or times", place)
        times = read_recording((folder or Path()) / arrivals.file, arrivals.event)
        workload = msgspec.structs.replace(
            workload, arrivals=msgspec.structs.replace(arrivals, times=times)
        )
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
    entry: str | None = None
    returns: str | None = None
    functions: int | None = None


def cores_by_arch(names: Iterable[str]) -> Mapping[Arch, str]:
    """Core names by the architecture of each; a second one of an architecture is refused."""
    found: dict[Arch, str] = {}
    for name in names:
        arch = load_core(name).arch
        if arch in found:
            raise InputError(f"{found[arch]} and {name} are both {arch}; name one", "--core")
        found[arch] = name
    return found


_OPTIONS = {
    "arrivals.rate": "--rate",
    "arrivals": "--rate",
    "machine.arch": "--arch",
    "machine.cpus": "--cpus",
    "machine.kernel": "--kernel",
    "machine.entry": "--entry",
    "machine.returns": "--returns",
    "functions": "--functions",
    "run.duration": "--duration",
    "run.seed": "--seed",
    "run.scenarios": "--scenario",
}
"""The option that changes a key."""


def change_workload(workload: Workload, changes: Changes) -> Workload:
    """`workload` with `changes`; raises `InputError` naming the option for what is wrong.

    Cores named for architectures that the changes do not mention choose those.
    """
    replace = msgspec.structs.replace
    arrivals, machine, run = workload.arrivals, workload.machine, workload.run
    if changes.rate is not None:
        if isinstance(arrivals, ClosedLoopArrivals | ReplayArrivals | SteppedArrivals):
            raise InputError(
                f"the arrivals of {workload.workload.name} have no single rate", "--rate"
            )
        arrivals = replace(arrivals, rate=changes.rate)
    given = {name: getattr(changes, name) for name in ("cpus", "kernel", "entry", "returns")}
    machine = replace(
        machine, **{name: value for name, value in given.items() if value is not None}
    )
    archs = changes.archs or tuple(changes.cores)
    if archs:
        machine = replace(machine, arch=archs)
    for arch, core in changes.cores.items():
        if arch not in machine.arch:
            raise InputError(f"{core} is no core of {', '.join(machine.arch)}", "--core")
    machine = replace(machine, cores=machine.cores | dict(changes.cores))
    given = {name: getattr(changes, name) for name in ("duration", "seed", "body")}
    given["scenarios"] = changes.scenarios or None
    run = replace(run, **{name: value for name, value in given.items() if value is not None})
    functions = workload.functions
    if changes.functions is not None:
        functions = replace(functions, count=changes.functions)
    changed = replace(workload, arrivals=arrivals, machine=machine, run=run, functions=functions)
    for key, error in _complaints(changed):
        raise InputError(error, _OPTIONS.get(key, key))
    return changed


def _complaints(workload: Workload) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) for values of the right type that make no sense."""
    for key, check in _checks(workload).items():
        try:
            check()
        except TramposimError as error:
            name = key.rpartition(".")[2]
            yield key, str(error).removeprefix("--").removeprefix(f"{name}: ")


def _checks(workload: Workload) -> dict[str, Callable[[], object]]:
    """By key: what raises `InputError` for a value of the right type that makes no sense."""
    machine, run, function = workload.machine, workload.run, workload.function
    interrupts = workload.interrupts
    # a rate must suit the clock; where the core gives that, the fastest imaginable one
    clock_hz = (machine.clock_ghz or 100) * 1e9
    return {
        "function.prototype": lambda: workload.prototype,
        "function.work_cycles": lambda: _in_range(function.work_cycles, 0, 1e12),
        "machine.clock_ghz": lambda: _in_range(
            1 if machine.clock_ghz is None else machine.clock_ghz, 0.001, 100
        ),
        "machine.cpus": lambda: _in_range(machine.cpus, 1, 8192),
        "machine.llc_cpus": lambda: _in_range(
            1 if machine.llc_cpus is None else machine.llc_cpus, 1, 8192
        ),
        "machine.tasks": lambda: _in_range(workload.tasks, 1, 65536),
        "machine.tick_hz": lambda: _in_range(machine.tick_hz, 0.1, 1e6),
        "machine.tick_cycles": lambda: _in_range(machine.tick_cycles, 0, 1e9),
        "machine.switch_cycles": lambda: _in_range(machine.switch_cycles, 0, 1e9),
        "machine.arch": lambda: _not_empty(machine.arch),
        **{
            f"machine.cores.{arch}": partial(_core_matches, arch, name)
            for arch, name in machine.cores.items()
        },
        "functions": lambda: workload.population,
        "machine.kernel": lambda: [
            rules_for(kernel_of(arch, machine.kernel)) for arch in machine.arch
        ],
        "machine.entry": lambda: [
            kernel_of(arch, machine.kernel, machine.entry) for arch in machine.arch
        ],
        "machine.returns": lambda: [
            kernel_of(arch, machine.kernel, None, machine.returns) for arch in machine.arch
        ],
        "background": lambda: workload.between_calls,
        **{
            f"tasks.{task.name}": partial(_competitor, workload, task)
            for task in workload.competing
        },
        "arrivals.rate": lambda: workload.rate_hz,
        "arrivals": lambda: [
            arrival_source(arrivals_of(workload, task), Clock(clock_hz), run.seed, task)
            for task in range(min(workload.tasks, machine.cpus))
        ],
        "interrupts.rate": lambda: [interrupt.arrivals for interrupt in interrupts],
        **{
            f"interrupts.{interrupt.name}": partial(_in_range, interrupt.cycles, 0, 1e12)
            for interrupt in interrupts
        },
        "run.duration": lambda: workload.duration_s,
        "run.seed": lambda: _in_range(run.seed, 0, 2**64 - 1),
        "run.scenarios": lambda: _not_empty([_programs(word, run.body) for word in run.scenarios]),
    }


def _in_range(value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InputError(f"{value:g} is out of range; {least:g} to {most:g} make sense")


def _competitor(workload: Workload, task: CompetingTask) -> None:
    """Whether a competing task makes sense on the workload's machine."""
    _in_range(task.cycles, 1, 1e12)
    _in_range(1 if task.count is None else task.count, 1, 65536)
    if task.arrivals is not None:
        arrival_source(task.arrivals, Clock((workload.machine.clock_ghz or 100) * 1e9), 0, 0)
    if task.lines_rate_hz and not (workload.background and workload.between_calls):
        raise InputError("a task evicts lines only where there is a [background] that does, too")


def _not_empty(values: Sequence[object]) -> None:
    if not values:
        raise InputError("the list is empty; leave the key out for the default")


def _core_matches(arch: Arch, name: str) -> None:
    if load_core(name).arch is not arch:
        raise InputError(f"{name} is no {arch} core")


def _programs(word: str, body: str) -> object:
    """The programs of SCENARIO:BODY, to see that there are such."""
    scenario, own = split_scenario(word, body)
    return programs_of(parse_scenario(scenario), own)


_CURVE_CALLS = 60
"""Calls per CPU at the low rates of a curve."""

_CURVE_SECONDS = 0.02
"""Simulated seconds at the high rates."""


def curve_workloads(workload: Workload) -> list[Workload]:
    """The workload at rates from 1/s per CPU to 10 M/s, two per decade.

    Raises `InputError` for one whose calls have no rate.
    """
    found = []
    for step in range(15):
        rate = 10 ** (step / 2)
        seconds = max(_CURVE_SECONDS, _CURVE_CALLS / rate)
        changes = Changes(rate=f"{rate:.6g}/s", duration=f"{seconds * 1000:.6g}ms")
        found.append(change_workload(workload, changes))
    return found
