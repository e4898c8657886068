"""Measuring again what a record measured, from what its rows say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tramposim.errors import InputError
from tramposim.kernel.declaration import parse_prototype
from tramposim.spec import Kernel
from tramposim.study.bench import BenchSetup, bench, bench_records
from tramposim.study.compare import compare
from tramposim.study.kernels import kernel_of
from tramposim.study.records import Records, Value
from tramposim.study.subject import DEFAULT_FUNCTION
from tramposim.timing import load_core

__all__ = ["remeasure"]

Row = Mapping[str, Value]


def remeasure(
    records: Records, where: str, progress: Callable[[str], None] = lambda text: None
) -> Records:
    """The same rows, measured by this version.

    Raises `InputError` for records of a command other than compare (with the standard bodies)
    and bench, or whose rows do not say what they measured.
    """
    command = records.meta.get("command")
    try:
        if command == "compare" and "programs" not in records.meta:
            return _compare(records, progress)
        if command == "bench":
            return _bench(records, progress)
    except KeyError as error:
        raise InputError(f"a row does not say its {error.args[0]}", where) from None
    raise InputError(
        f"rows of {command!r} cannot be measured again from their record; give a new record", where
    )


def _kernel(row: Row, entry: str | None) -> Kernel:
    return kernel_of(str(row["arch"]), str(row["kernel"]), entry, str(row["returns"]))


def _compare(records: Records, progress: Callable[[str], None]) -> Records:
    prototype = parse_prototype(str(records.meta.get("prototype", DEFAULT_FUNCTION)))
    rows: list[Row] = []
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in records.rows:
        key = tuple(row[name] for name in ("arch", "core", "kernel", "returns"))
        groups.setdefault(key, []).append(row)
    meta: Mapping[str, object] = {}
    for group in groups.values():
        entry = next((str(row["entry"]) for row in group if row.get("entry")), None)
        kernel = _kernel(group[0], entry)
        core = load_core(str(group[0]["core"]))
        grid = [(str(row["scenario"]), str(row["body"])) for row in group]
        again = compare([kernel], {kernel.arch: core}, prototype, grid, progress)
        rows += again.rows
        meta = again.meta
    return Records(meta, tuple(rows))


def _bench(records: Records, progress: Callable[[str], None]) -> Records:
    def results() -> object:
        for row in records.rows:
            setup = BenchSetup(producers=int(str(row["producers"])))
            core = load_core(str(row["core"]))
            yield bench(str(row["benchmark"]), _kernel(row, None), core, setup)

    return bench_records(results(), progress)  # type: ignore[arg-type]
