"""Sweeps of a workload: what tracing costs at its call rate, on many cores and kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tramposim import __version__
from tramposim.errors import AttachError, TramposimError
from tramposim.spec import Kernel
from tramposim.study.load import BASIS, BASIS_FOUND, load
from tramposim.study.meter import meters_of
from tramposim.study.parallel import each
from tramposim.study.records import Records, Value
from tramposim.study.scenario import UNTRACED
from tramposim.study.sweep import Grid, axes_of
from tramposim.study.workload import Changes, change_workload
from tramposim.study.workload_schema import Workload, split_scenario

__all__ = ["sweep_workload"]

Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class _Task:
    """The workload on one machine."""

    workload: Workload
    kernel: Kernel
    core: str


def sweep_workload(
    workload: Workload,
    grid: Grid,
    jobs: int | None = None,
    cluster: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Records:
    """The workload on every core, kernel, and way to enter and return of `grid`.

    The workload says the function, the scenarios and the rate; `jobs` and `cluster` are as for
    `parallel.each`. A scenario that a kernel refuses is a row with `refused`, one that is not
    known a row with `error`. Raises `InputError` for words that name nothing.
    """
    tasks = [
        _Task(_on(workload, kernel, core), kernel, core)
        for arch in grid.archs
        for core in grid.cores_of(arch)
        for kernel in grid.kernels_of(arch)
    ]
    rows: list[Row] = []
    for task, found in zip(tasks, each(_simulate, tasks, jobs, cluster), strict=True):
        progress(f"{task.kernel.arch} {task.kernel.version} {task.core}")
        rows += found
    return Records(
        meta={
            "command": "sweep",
            "version": __version__,
            "workload": workload.workload.name,
            "function": workload.prototype.name,
            "axes": axes_of(grid, rows),
            "basis": BASIS if workload.between_calls is None else BASIS_FOUND,
        },
        rows=tuple(rows),
    )


def _on(workload: Workload, kernel: Kernel, core: str) -> Workload:
    changes = Changes(
        archs=(kernel.arch,),
        cores={kernel.arch: core},
        kernel=kernel.version,
        entry=kernel.entry.value if kernel.entry else None,
        returns=kernel.returns.value,
    )
    return change_workload(workload, changes)


def _simulate(task: _Task) -> list[Row]:
    """A row per scenario; one at a time where one of them fails."""
    scenarios = task.workload.run.scenarios
    state = "hot" if task.workload.between_calls is None else "as found"
    try:
        rows = [dict(row) for row in load([task.workload], meters_of(task.workload)).rows]
    except TramposimError as error:
        if len(scenarios) > 1:
            alone = (change_workload(task.workload, Changes(scenarios=(s,))) for s in scenarios)
            return _related(
                [row for one in alone for row in _simulate(_Task(one, task.kernel, task.core))]
            )
        return [_without(task, scenarios[0], state, error)]
    return _related([{**row, "state": state} for row in rows])


def _without(task: _Task, words: str, state: str, error: TramposimError) -> Row:
    scenario, body = split_scenario(words, task.workload.run.body)
    kind = "refused" if isinstance(error, AttachError) else "error"
    return {
        "arch": task.kernel.arch.value,
        "core": task.core,
        "kernel": task.kernel.version,
        "returns": task.kernel.returns.value,
        "scenario": scenario,
        "body": body,
        "state": state,
        kind: str(error),
    }


def _related(rows: list[Row]) -> list[Row]:
    """The rows with what they add relative to their pair: that with the same body, or kind."""
    pairs: dict[str, Row] = {}
    for row in rows:
        if row["scenario"] == "fentry+fexit" and "cycles_over_untraced" in row:
            pairs[str(row["body"])] = row
            pairs.setdefault(str(row["body"]).split("-")[0], row)
    return [{**row, **_ratio(row, pairs)} for row in rows]


def _ratio(row: Row, pairs: Mapping[str, Row]) -> Row:
    body = str(row["body"])
    pair = pairs.get(body) or pairs.get(body.split("-")[0])
    if pair is None or row["scenario"] == UNTRACED or "cycles_over_untraced" not in row:
        return {}
    over, base = (float(str(each["cycles_over_untraced"])) for each in (row, pair))
    return {"over_pair_ratio": round(over / base, 3)} if base else {}
