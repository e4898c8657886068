"""Sweeps: the same scenarios over cores, kernels, ways to enter and return, and states.

Calls are executed once for each kernel, scenario and body, and then timed on every core and
from every state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from tramposim import __version__
from tramposim.errors import AttachError, InputError, TramposimError
from tramposim.kernel.declaration import declare, parse_prototype
from tramposim.spec import Arch, Kernel, Prototype
from tramposim.study.bodies import programs_of
from tramposim.study.kernels import kernel_of
from tramposim.study.measure import execute, relative_cycles
from tramposim.study.parallel import each
from tramposim.study.records import Records, Value
from tramposim.study.scenario import UNTRACED, parse_scenario
from tramposim.study.subject import DEFAULT_FUNCTION, Subject
from tramposim.study.workload_schema import split_scenario
from tramposim.timing import STATES, core_names, load_core

__all__ = ["SCENARIOS", "Grid", "axes_of", "sweep"]

SCENARIOS = (
    "fentry+fexit",
    "fsession",
    "fsession+cookie",
    "fentry+fexit:latency-hash",
    "fsession+cookie:latency-cookie",
)
"""What is compared where no scenario is named."""

Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Grid:
    """The axes of a sweep, as words of the command line.

    `cores`: empty means every core of the architectures. `entries` and `returns`: None is what
    the kernel version does; a word that an architecture does not know is left out for it.
    `scenarios` are SCENARIO or SCENARIO:BODY, the former with each of `bodies`.
    """

    archs: tuple[Arch, ...] = tuple(Arch)
    cores: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ("7.2",)
    entries: tuple[str | None, ...] = (None,)
    returns: tuple[str | None, ...] = (None,)
    scenarios: tuple[str, ...] = SCENARIOS
    bodies: tuple[str, ...] = ("empty",)
    states: tuple[str, ...] = ("hot",)
    prototype: Prototype = field(default_factory=lambda: parse_prototype(DEFAULT_FUNCTION))

    def kernels_of(self, arch: Arch) -> list[Kernel]:
        """The kernels of an architecture; raises `InputError` for a word none knows."""
        return [
            kernel_of(arch, version, entry, returns)
            for version, returns, entry in product(
                self.kernels,
                self._known(arch, "returns", self.returns),
                self._known(arch, "entry", self.entries),
            )
        ]

    def _known(
        self, arch: Arch, knob: str, words: tuple[str | None, ...]
    ) -> tuple[str | None, ...]:
        """The words of a knob that `arch` knows, or what its kernels do by default."""

        def known(word: str | None, arch: Arch) -> bool:
            try:
                kernel_of(arch, self.kernels[0], **{knob: word})
            except InputError:
                return False
            return True

        for word in words:
            if not any(known(word, other) for other in self.archs):
                kernel_of(arch, self.kernels[0], **{knob: word})
        return tuple(word for word in words if known(word, arch)) or (None,)

    def cores_of(self, arch: Arch) -> tuple[str, ...]:
        """The cores to time on; raises `InputError` for one that no architecture here has."""
        for name in self.cores:
            if load_core(name).arch not in self.archs:
                raise InputError(f"{name} is no core of {', '.join(self.archs)}", "--core")
        return tuple(name for name in self.cores or core_names() if load_core(name).arch is arch)

    @property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """(scenario, body) of each column; raises `InputError` for what is none of these."""
        found = dict.fromkeys(
            split_scenario(words, body) for words in self.scenarios for body in self.bodies
        )
        for scenario, body in found:
            programs_of(parse_scenario(scenario), body)
        return tuple(cell for cell in found if cell[0] != UNTRACED)


@dataclass(frozen=True, slots=True)
class _Task:
    """Calls to execute once, and what to time them on."""

    kernel: Kernel
    prototype: Prototype
    scenario: str
    body: str
    cores: tuple[str, ...]
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Timed:
    """A row with the cycles that it rounds, or None if it has an error."""

    cycles: float | None
    row: Row


def sweep(
    grid: Grid,
    jobs: int | None = None,
    cluster: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Records:
    """Measure the whole grid; `jobs` and `cluster` as for `parallel.each`.

    A cell that cannot be had (fsession on a kernel without it, an instruction that the model
    does not know) is a row with `error`. Raises `InputError` for words that name nothing.
    """
    for state in grid.states:
        if state not in STATES:
            raise InputError(f"unknown state {state!r}; known are {', '.join(STATES)}", "--state")
    tasks = _tasks(grid)
    timed: list[tuple[_Task, _Timed]] = []
    for task, found in zip(tasks, each(_measure, tasks, jobs, cluster), strict=True):
        progress(f"{task.kernel.arch} {task.kernel.version} {task.scenario} {task.body}")
        timed += [(task, one) for one in found]
    rows = _related(timed)
    return Records(
        meta={
            "command": "sweep",
            "version": __version__,
            "function": grid.prototype.name,
            "prototype": declare(grid.prototype),
            "axes": axes_of(grid, rows),
            "basis": "core cycles per call of the core model; "
            + "; ".join(f"{state}: {STATES[state]}" for state in grid.states),
        },
        rows=tuple(rows),
    )


def _tasks(grid: Grid) -> list[_Task]:
    found = []
    for arch in grid.archs:
        cores = grid.cores_of(arch)
        machines = grid.kernels_of(arch)
        if not cores:
            continue
        for kernel in machines:
            # However a call would reach an image: untraced it reaches none.
            first = next(k for k in machines if _without_entry(k) == _without_entry(kernel))
            cells = ((UNTRACED, "empty"), *grid.cells) if kernel is first else grid.cells
            found += [
                _Task(kernel, grid.prototype, scenario, body, cores, grid.states)
                for scenario, body in cells
            ]
    return found


def _related(timed: Sequence[tuple[_Task, _Timed]]) -> list[Row]:
    """The rows, those of one machine together, set against its untraced call and its pair."""
    untraced = {_machine(t, one): one.cycles for t, one in timed if t.scenario == UNTRACED}
    pairs: dict[tuple[object, ...], float | None] = {}
    for task, one in timed:
        if _pairing(task.scenario)[0] == "fentry+fexit":
            for key in _alike(task, one):
                pairs.setdefault(key, one.cycles)
    order = {key: place for place, key in enumerate(dict.fromkeys(_machine(*x) for x in timed))}
    rows = []
    for task, one in sorted(timed, key=lambda pair: order[_machine(*pair)]):
        base = untraced[_machine(task, one)]
        alike = () if task.scenario == UNTRACED else _alike(task, one)
        pair = next((pairs[key] for key in alike if key in pairs), None)
        rows.append(dict(one.row))
        if one.cycles is not None and base is not None:
            rows[-1] |= relative_cycles(one.cycles, base, pair)
    return rows


def _without_entry(kernel: Kernel) -> tuple[object, ...]:
    return kernel.arch, kernel.version, kernel.returns


def _machine(task: _Task, one: _Timed) -> tuple[object, ...]:
    """What a row shares with the untraced call that it is set against."""
    return *_without_entry(task.kernel), one.row["core"], one.row["state"]


def _alike(task: _Task, one: _Timed) -> tuple[tuple[object, ...], ...]:
    """What a row shares with its pair: the body, else its kind (latency-hash, latency-cookie)."""
    machine = *_machine(task, one), task.kernel.entry, _pairing(task.scenario)[1]
    return (*machine, task.body), (*machine, task.body.split("-")[0], None)


def _pairing(words: str) -> tuple[str, int]:
    """What a scenario attaches and how often; whatever is neither pairs nor sessions is set
    against one pair."""
    return parse_scenario(words).pairing or ("", 1)


def _measure(task: _Task) -> list[_Timed]:
    """Execute a task's calls and time them on each core from each state."""
    subject = Subject(task.kernel, task.prototype, parse_scenario(task.scenario), task.body)
    timed = list(product(task.cores, task.states))
    try:
        calls = execute(subject)
    except TramposimError as error:
        return [_without(subject, core, state, error) for core, state in timed]
    found = []
    for name, state in timed:
        try:
            measured = calls.timed(load_core(name), state)
        except TramposimError as error:
            found.append(_without(subject, name, state, error))
        else:
            found.append(_Timed(measured.cycles_per_call, dict(measured.record())))
    return found


def _without(subject: Subject, core: str, state: str, error: TramposimError) -> _Timed:
    kernel = subject.kernel
    row: Row = {
        "arch": kernel.arch.value,
        "core": core,
        "core_error": load_core(core).error,
        "kernel": kernel.version,
        "returns": kernel.returns.value,
        "scenario": subject.scenario.word,
        "body": subject.body,
        "state": state,
    }
    if kernel.entry is not None:
        row["entry"] = kernel.entry.value
    kind = "refused" if isinstance(error, AttachError) else "error"
    return _Timed(None, {**row, kind: str(error)})


def axes_of(grid: Grid, rows: Sequence[Mapping[str, Value]]) -> dict[str, list[str]]:
    """The axes that the rows differ in, beside scenario and body, with their words in order."""
    names = ["arch", "core", "kernel", "returns", "state"]
    if len(grid.entries) > 1:
        names.append("entry")
    found = {name: list(dict.fromkeys(_words(rows, name))) for name in names}
    return {name: words for name, words in found.items() if len(words) > 1}


def _words(rows: Sequence[Mapping[str, Value]], name: str) -> Iterator[str]:
    return (str(row[name]) for row in rows if row.get(name) is not None)
