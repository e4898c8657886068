"""The records of a whole report: what is compared, where it goes, and how it scales."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from tramposim import __version__
from tramposim.kernel.declaration import declare
from tramposim.spec import Kernel, Prototype
from tramposim.study.compare import compare
from tramposim.study.explain import explain, explain_records
from tramposim.study.load import load
from tramposim.study.meter import meters_of
from tramposim.study.parallel import each
from tramposim.study.records import Records, Value
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import Subject
from tramposim.study.sweep import SCENARIOS, Grid, sweep
from tramposim.study.workload import (
    Changes,
    change_workload,
    curve_workloads,
    find_workload,
    read_workload,
)
from tramposim.study.workload_schema import Workload, split_scenario
from tramposim.timing import Core, core_names, load_core

__all__ = ["Section", "accuracy_records", "overview", "versions"]

PROGRAM_COUNTS = (1, 2, 4, 8, 12, 18)
"""Pairs or sessions attached to one function; 18 fill the slots on x86_64."""

FUNCTION_COUNTS = (1, 10, 100, 1000, 10000)
"""How many functions are traced at once."""

WORKLOAD = "icmp_rcv"
"""The workload whose calls come at a rate."""

LOADED = (
    "fentry+fexit:count",
    "fsession:count",
    "fentry+fexit:latency-hash",
    "fsession+cookie:latency-cookie",
)
"""What is attached to the workload's function."""

EXPLAINED = (
    ("fentry+fexit", "fsession"),
    ("fsession+cookie",),
    ("fentry+fexit:latency-hash", "fsession+cookie:latency-cookie"),
)
"""Arguments of `tramposim explain`, a command line each."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Section:
    """Records, and where they come from: command lines that print them, or a file."""

    records: Records
    commands: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class _Setting:
    """What is reported on: kernels of one version that return alike, a core for each."""

    kernels: tuple[Kernel, ...]
    cores: tuple[str, ...]
    prototype: Prototype

    @property
    def archs(self) -> str:
        """Options: which architectures and version."""
        words = [f"--arch {kernel.arch}" for kernel in self.kernels]
        return " ".join([*words, f"--kernel {self.kernels[0].version}"])

    @property
    def kernel(self) -> str:
        """Options: which kernels and function."""
        words = [f"--returns {kind}" for kind in self.returns if kind != "plain"]
        return " ".join([self.archs, *words, f"--proto '{declare(self.prototype)}'"])

    @property
    def machine(self) -> str:
        """Options: which kernels, function and cores."""
        return " ".join([self.kernel, *(f"--core {name}" for name in self.cores)])

    @property
    def returns(self) -> tuple[str, ...]:
        """How they return."""
        return tuple(dict.fromkeys(kernel.returns.value for kernel in self.kernels))

    @property
    def loaded(self) -> dict[str, Core]:
        """The core of each architecture."""
        return {
            kernel.arch: load_core(n) for kernel, n in zip(self.kernels, self.cores, strict=True)
        }

    def grid(self, scenarios: tuple[str, ...], cores: tuple[str, ...] = ()) -> Grid:
        """A sweep of scenarios on these kernels."""
        return Grid(
            archs=tuple(kernel.arch for kernel in self.kernels),
            cores=cores,
            kernels=(self.kernels[0].version,),
            returns=self.returns,
            scenarios=scenarios,
            prototype=self.prototype,
        )


def overview(
    kernels: Sequence[Kernel],
    cores: Mapping[str, Core],
    prototype: Prototype,
    progress: Progress = lambda text: None,
    jobs: int | None = None,
) -> tuple[Section, ...]:
    """Everything that the report shows of one traced function on these kernels.

    `jobs` as for `parallel.each`. Raises what measuring raises.
    """
    names = tuple(cores[kernel.arch].name for kernel in kernels)
    setting = _Setting(tuple(kernels), names, prototype)
    sections = []
    for part, section in zip(
        _PARTS, each(_section, [(p, setting) for p in _PARTS], jobs), strict=True
    ):
        progress(part)
        sections.append(section)
    return tuple(sections)


def _section(task: tuple[str, _Setting]) -> Section:
    part, setting = task
    return _PARTS[part](setting)


def versions() -> dict[str, str]:
    """What the numbers depend on: tramposim, Python, and the libraries that compute them."""
    libraries = {name: metadata.version(name) for name in ("unicorn", "capstone", "numpy", "simpy")}
    return {"tramposim": __version__, "Python": platform.python_version(), **libraries}


def _compared(setting: _Setting) -> Section:
    records = compare(setting.kernels, setting.loaded, setting.prototype)
    return Section(records, (f"tramposim compare {setting.machine}",))


def _explained(setting: _Setting) -> Section:
    found = []
    for kernel in setting.kernels:
        for word in (word for words in EXPLAINED for word in words):
            scenario, body = split_scenario(word, "empty")
            subject = Subject(kernel, setting.prototype, parse_scenario(scenario), body)
            found.append(explain(subject, setting.loaded[kernel.arch]))
    commands = (f"tramposim explain {' '.join(words)} {setting.machine}" for words in EXPLAINED)
    return Section(explain_records(found), tuple(commands))


def _on_every_core(setting: _Setting) -> Section:
    return Section(sweep(setting.grid(SCENARIOS), 1), (f"tramposim sweep {setting.kernel}",))


def _with_programs(setting: _Setting) -> Section:
    words = tuple(
        scenario
        for count in PROGRAM_COUNTS
        for scenario in (
            f"fentry*{count}+fexit*{count}",
            f"fsession*{count}",
            f"fsession*{count}+cookie",
        )
    )
    options = " ".join(f"--scenario '{word}'" for word in words)
    command = f"tramposim sweep {setting.machine} {options}"
    return Section(sweep(setting.grid(words, setting.cores), 1), (command,))


def _over_rates(setting: _Setting) -> Section:
    return _load(setting, curve_workloads(_workload(setting)), "--curve")


def _over_functions(setting: _Setting) -> Section:
    chosen = change_workload(_workload(setting), Changes(duration="200ms"))
    more = [change_workload(chosen, Changes(functions=count)) for count in FUNCTION_COUNTS]
    counts = " ".join(f"--functions {count}" for count in FUNCTION_COUNTS)
    return _load(setting, more, f"--duration 200ms {counts}")


def _workload(setting: _Setting) -> Workload:
    archs = tuple(kernel.arch for kernel in setting.kernels)
    cores = dict(zip(archs, setting.cores, strict=True))
    version = setting.kernels[0].version
    changes = Changes(cpus=1, archs=archs, cores=cores, kernel=version, scenarios=LOADED)
    return change_workload(read_workload(find_workload(WORKLOAD)), changes)


def _load(setting: _Setting, workloads: Sequence[Workload], words: str) -> Section:
    options = [words, "--cpus 1", setting.archs]
    options += [f"--core {name}" for name in setting.cores]
    options += [f"--scenario {word}" for word in LOADED]
    command = f"tramposim load {WORKLOAD} {' '.join(options)}"
    return Section(load(workloads, meters_of(workloads[0])), (command,))


def _accuracy(setting: _Setting) -> Section:
    return Section(accuracy_records(), ("tramposim cores",))


_PARTS: Mapping[str, Callable[[_Setting], Section]] = {
    "comparison": _compared,
    "parts of a call": _explained,
    "every core": _on_every_core,
    "call rates": _over_rates,
    "programs": _with_programs,
    "functions": _over_functions,
    "accuracy": _accuracy,
}
"""What is measured for the report, in its order."""


def accuracy_records() -> Records:
    """How far every shipped core model was from hardware, as its file says."""
    rows: list[Mapping[str, Value]] = []
    for name in core_names():
        core = load_core(name)
        if not core.accuracy:
            rows.append({"core": name, "arch": core.arch.value, "data": "uncalibrated"})
        for what, entry in core.accuracy.items():
            rows.append(
                {
                    "core": name,
                    "arch": core.arch.value,
                    "what": what,
                    "data": entry.data,
                    "mean_error_percent": entry.mean_percent,
                    "rows": entry.rows,
                }
            )
    return Records(
        meta={
            "command": "accuracy",
            "version": __version__,
            "basis": "mean of the absolute errors against measured hardware",
        },
        rows=tuple(rows),
    )
