"""Accuracy: every core model against the cycles that were measured on its silicon.

Measurements of core NAME are files `NAME-images.csv`, `NAME-table.md`, `NAME-scenarios.csv`,
`NAME-state-passing.csv`, `NAME-blocks.csv` and `NAME-microkernels.csv` of some folders; the
captures that the images' ids name lie in `golden` beside theirs. `tramposim native --format
data` writes the scenarios, blocks and micro-kernels of the machine that it runs on.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import TypeVar

from tramposim import __version__
from tramposim.errors import InputError, TramposimError
from tramposim.kernel.declaration import parse_prototype
from tramposim.spec import Arch
from tramposim.study.bodies import programs_of
from tramposim.study.kernels import kernel_of
from tramposim.study.measure import Measurement, attach_programs, execute_world, measure
from tramposim.study.measured import read_measured
from tramposim.study.micro import load_kernels, time_kernel
from tramposim.study.published import load_published, time_published
from tramposim.study.rank import kendall_tau
from tramposim.study.records import Records, Value
from tramposim.study.replay import ReplayRequest, replay
from tramposim.study.replay_files import captures_of
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_FUNCTION, Subject
from tramposim.timing import Core
from tramposim.timing.blocks import time_blocks
from tramposim.timing.throughput import Mode, Throughput

__all__ = ["AccuracyRequest", "Compared", "DataSet", "accuracy"]

Row = TypeVar("Row")

_SERIES = "7.2"
"""Kernel whose images were measured."""

_WORST = 3
"""Rows that are named as the worst of a data set."""

_CLOSE, _CLOSE_CYCLES = 0.05, 0.1
"""A row is close within this part of its cycles, or this many of them."""

_NAMED = 1.0
"""Smallest error in per cent that is worth naming its row."""

_VARYING = ".bpf_modify_return_test"
"""Images whose cycles on silicon vary threefold with the addresses of their data."""

_TABLE_BODIES = {"fsession+cookie": "carry"}
"""Bodies of the table's scenarios that are not empty: it gives 318 instructions for a call with a
session cookie, which is a program that uses it (one that only asks for it executes 288)."""

_SCENARIO = ("entry", "returns", "scenario", "body")
"""Columns that say what a row of measured scenarios is."""

_MEASURED_BODIES = (
    ("case.untraced.1key", "untraced", "empty"),
    ("case.fe.empty.1key", "fentry", "empty"),
    ("case.fx.empty.1key", "fexit", "empty"),
    ("case.fefx.empty.1key", "fentry+fexit", "empty"),
    ("case.fs.empty.1key", "fsession", "empty"),
    ("case.fs.lat.1key", "fsession+cookie", "latency-cookie"),
    ("case.fefx.lat._h1k.1key", "fentry+fexit", "latency-hash"),
    ("case.fs.hash._h1k.1key", "fsession", "latency-hash"),
)
"""Rows of the measurements of state passing, with the scenario and body that they time. Their
calls are from within an RCU read-side section: each unlock executes three instructions less, and
a taken branch more (`__rcu_read_unlock`)."""


@dataclass(frozen=True, slots=True)
class AccuracyRequest:
    """`data`: folders of measurements; the first that has a file counts. `sample`: most rows of
    a data set (None: all), drawn by `seed`."""

    cores: tuple[Core, ...]
    data: tuple[Path, ...]
    sample: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """A row of a data set: cycles on silicon and by the model, or why it has none."""

    name: str
    measured: float
    modelled: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Measurements of one kind: how their file is called, what they are, how they are timed."""

    name: str
    suffix: str
    unit: str
    compare: Callable[[Path, Core, _Sample], list[Compared]]


class _Sample:
    """Draws at most `size` of a data set's rows, the same ones for the same seed."""

    def __init__(self, size: int | None, seed: int) -> None:
        self.size = size
        self.seed = seed

    def of(self, rows: Iterable[Row]) -> list[Row]:
        """The rows drawn, in their order."""
        every = list(rows)
        if self.size is None or len(every) <= self.size:
            return every
        chosen = sorted(random.Random(self.seed).sample(range(len(every)), self.size))
        return [every[index] for index in chosen]


def accuracy(request: AccuracyRequest, step: Callable[[str], None] = lambda name: None) -> Records:
    """A row per core and data set; a core without measurements has one that says so.

    Raises `InputError` for a folder or file that cannot be read.
    """
    for folder in request.data:
        if not folder.is_dir():
            raise InputError("is no folder of measurements", str(folder))
    rows: list[Mapping[str, Value]] = []
    for core in request.cores:
        sample = _Sample(request.sample, request.seed)
        of_core: list[Mapping[str, Value]] = []
        for kind in _KINDS:
            places = (folder / f"{core.name}-{kind.suffix}" for folder in request.data)
            path = next((place for place in places if place.is_file()), None)
            if path is None:
                continue
            step(f"{core.name} {kind.name}")
            try:
                compared = kind.compare(path, core, sample)
            except (KeyError, ValueError, UnicodeDecodeError, OSError) as error:
                raise InputError(f"no measurements as they should be: {error}", str(path)) from None
            of_core.append(_row(core, kind.name, kind.unit, compared))
        if not of_core:
            of_core.append(
                {"core": core.name, "data": "silicon", "rows": 0, "note": "uncalibrated"}
            )
        cases = sample.of(load_published(core.name))
        if cases:
            step(f"{core.name} published")
            compared = [
                Compared(case.name, case.cycles, *time_published(case, core)) for case in cases
            ]
            of_core.append(_row(core, "published", "cycles per instruction", compared))
        rows += of_core
    meta: dict[str, object] = {
        "command": "cores --accuracy",
        "version": __version__,
        "basis": "core model against measured core cycles, everything hot",
        "sample": request.sample,
        "seed": request.seed,
        "data": bool(request.data),
    }
    return Records(meta, tuple(rows))


def _row(core: Core, name: str, unit: str, rows: Sequence[Compared]) -> Mapping[str, Value]:
    """What the comparisons of a data set sum up to."""
    timed = [
        (100 * (row.modelled / row.measured - 1), row) for row in rows if row.modelled is not None
    ]
    failed = [row for row in rows if row.modelled is None]
    found: dict[str, Value] = {"core": core.name, "data": name, "rows": len(timed), "unit": unit}
    if timed:
        sizes = [abs(error) for error, _ in timed]
        wrong = [pair for pair in timed if abs(pair[0]) >= _NAMED]
        worst = sorted(wrong, key=lambda pair: (-abs(pair[0]), pair[1].name))[:_WORST]
        found |= {
            "mean_error_percent": round(mean(sizes), 2),
            "median_error_percent": round(median(sizes), 2),
            "worst_error_percent": round(max(sizes), 2),
            "rows_close_percent": round(100.0 * mean(_close(row) for _, row in timed), 1),
            "kendall_tau": round(
                kendall_tau(
                    [row.measured for _, row in timed],
                    [row.modelled for _, row in timed if row.modelled is not None],
                ),
                3,
            ),
        }
        if worst:
            found["worst"] = "; ".join(f"{row.name} {error:+.0f} %" for error, row in worst)
    if failed:
        found["failed"] = len(failed)
        found["note"] = f"{len(failed)} not timed, the first: {failed[0].name}: {failed[0].error}"
    return found


def _close(row: Compared) -> bool:
    """Whether the model is as near as measurements of single mechanisms repeat."""
    assert row.modelled is not None
    return abs(row.modelled - row.measured) <= max(_CLOSE * row.measured, _CLOSE_CYCLES)


def _images(path: Path, core: Core, sample: _Sample) -> list[Compared]:
    """Captured images, replayed."""
    measured = read_measured(path)
    ids = sample.of(name for name in measured if _VARYING not in name)
    captures = captures_of(path.parent / ".." / "golden", _SERIES, None, core.arch)
    replays = replay(ReplayRequest(captures, lambda arch: core, ids, measured))
    return [
        Compared(
            str(row["id"]),
            measured[str(row["id"])].cycles,
            _cycles(row.get("cycles_per_call")),
            str(row.get("error", "")),
        )
        for row in replays.records.rows
    ]


def _cycles(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _table(path: Path, core: Core, sample: _Sample) -> list[Compared]:
    """The standard scenarios by return style and entry mode: a table of Markdown."""
    lines = path.read_text(encoding="utf-8").splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line]
    found = []
    for returns, entry, scenario, _insns, cycles, *_ in sample.of(cells):
        body = _TABLE_BODIES.get(scenario, "empty")
        subject = _subject(core.arch, entry, returns, scenario, body)
        found.append(
            Compared(f"{returns} {entry} {scenario}", float(cycles), *_modelled(subject, core))
        )
    return found


def _scenarios(path: Path, core: Core, sample: _Sample) -> list[Compared]:
    """Scenarios by return style, entry mode and body, as `tramposim native` measures them."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = sample.of(csv.DictReader(stream))
    found = []
    for row in rows:
        entry, returns, scenario, body = (row[word] for word in _SCENARIO)
        cycles = float(row["cycles_per_call_median"])
        subject = _subject(core.arch, entry, returns, scenario, body, row["kernel"])
        name = f"{entry} {returns} {scenario} {body}"
        found.append(Compared(name, cycles, *_modelled(subject, core)))
    return found


def _state_passing(path: Path, core: Core, sample: _Sample) -> list[Compared]:
    """Whole calls of programs that pass state from entry to exit."""
    with path.open(newline="", encoding="utf-8") as stream:
        cycles = {row["name"]: float(row["cycles_median"]) for row in csv.DictReader(stream)}
    found = []
    for name, *case in sample.of(_MEASURED_BODIES):
        if name in cycles:
            subject = _subject(core.arch, "jmp", "ret", *case)
            found.append(Compared(name, cycles[name], *_modelled(subject, core, _read_side)))
    return found


def _read_side(subject: Subject, core: Core) -> Measurement:
    """A call from within an RCU read-side section, measured as `measure` does others."""
    world = attach_programs(subject, programs_of(subject.scenario, subject.body))
    guest = world.guest
    guest.memory.put_member(guest.cpu.task, "task_struct.rcu_read_lock_nesting", 1, 4)
    return execute_world(subject, world).timed(core)


def _subject(
    arch: Arch, entry: str, returns: str, scenario: str, body: str, version: str = _SERIES
) -> Subject:
    kernel = kernel_of(arch, version, entry, {"ret": "plain"}.get(returns, returns))
    return Subject(kernel, parse_prototype(DEFAULT_FUNCTION), parse_scenario(scenario), body)


def _modelled(
    subject: Subject, core: Core, measured: Callable[[Subject, Core], Measurement] = measure
) -> tuple[float | None, str]:
    try:
        return measured(subject, core).cycles_per_call, ""
    except TramposimError as error:
        return None, str(error)


def _blocks(path: Path, core: Core, sample: _Sample) -> list[Compared]:
    """Unrolled blocks: decoded, or from the uop cache where a column `mode` says so."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = sample.of(csv.DictReader(stream))
    mode: Mode = "cached" if rows and rows[0].get("mode") == "cached" else "unroll"
    results = time_blocks([bytes.fromhex(row["hex"]) for row in rows], core, mode)
    found = []
    for row, result in zip(rows, results, strict=True):
        if "cycles_per_iteration_median" in row:
            measured = float(row["cycles_per_iteration_median"])
        else:
            measured = float(row["measured_cycles_per_100_iterations"]) / 100
        if isinstance(result, Throughput):
            found.append(Compared(row["hex"], measured, result.cycles))
        else:
            found.append(Compared(row["hex"], measured, None, str(result)))
    return found


def _microkernels(path: Path, core: Core, sample: _Sample) -> list[Compared]:
    """Micro-kernels that the package holds too, per unit; their loops are executed."""
    with path.open(newline="", encoding="utf-8") as stream:
        cycles = {r["name"]: float(r["cycles_per_unit_median"]) for r in csv.DictReader(stream)}
    found = []
    for kernel in sample.of(kernel for kernel in load_kernels() if kernel.name in cycles):
        modelled: float | None = None
        reason = ""
        try:
            modelled = time_kernel(kernel, core).cycles_per_call / kernel.units
        except TramposimError as error:
            reason = str(error)
        found.append(Compared(kernel.name, cycles[kernel.name], modelled, reason))
    return found


_KINDS = (
    DataSet("images", "images.csv", "cycles per call", _images),
    DataSet("table", "table.md", "cycles per call", _table),
    DataSet("scenarios", "scenarios.csv", "cycles per call", _scenarios),
    DataSet("state passing", "state-passing.csv", "cycles per call", _state_passing),
    DataSet("blocks", "blocks.csv", "cycles per iteration", _blocks),
    DataSet("micro-kernels", "microkernels.csv", "cycles per unit", _microkernels),
)
