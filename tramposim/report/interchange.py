"""Records in the JSON formats of other benchmark tools: pyperf and Google Benchmark.

Both take times, so cycles become seconds or nanoseconds at the clock of the row's core model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tramposim.errors import InputError
from tramposim.study.records import Records, Value
from tramposim.timing import load_core

__all__ = ["google_benchmark_json", "pyperf_json"]

_FIELD = "cycles_per_call"


_NAMED = ("arch", "core", "scenario", "body", "returns")
"""Fields that a row's name always has."""

_TELLING = ("function", "benchmark", "kernel", "entry", "state", "functions",
            "offered_calls_per_s", "producers")  # fmt: skip
"""Fields that it has where rows differ in them."""


def _timed(records: Records) -> list[tuple[str, float, Mapping[str, Value]]]:
    """Name, cycles and row of everything that has cycles per call.

    Readers take rows of one name for repetitions: raises `InputError` where rows cannot be
    told apart, and if nothing has cycles.
    """
    rows = [
        row
        for row in records.rows
        if _FIELD in row and row.get("what", "call") == "call" and "core" in row
    ]
    if not rows:
        raise InputError("no row has cycles per call: nothing to convert")
    telling = [key for key in _TELLING if len({row.get(key) for row in rows}) > 1]
    named: dict[str, Mapping[str, Value]] = {}
    for row in rows:
        words = [str(row[key]) for key in (*_NAMED, *telling) if row.get(key) is not None]
        if named.setdefault("/".join(words), row) is not row:
            raise InputError(f"two rows are called {'/'.join(words)}: nothing tells them apart")
    return [(name, float(str(row[_FIELD])), row) for name, row in named.items()]


def pyperf_json(records: Records) -> str:
    """A benchmark suite of pyperf (file format 1.0): one run with one value per row, seconds.

    Source of the format: pyperf's Bench.dump and documentation, "JSON format".
    """
    benchmarks = []
    for name, cycles, row in _timed(records):
        seconds = cycles / load_core(str(row["core"])).clock_ghz / 1e9
        benchmarks.append(
            {
                "metadata": {"name": name, "tramposim_cycles_per_call": cycles},
                "runs": [{"values": [seconds]}],
            }
        )
    about = {
        f"tramposim_{key}": str(records.meta[key])
        for key in ("version", "basis")
        if records.meta.get(key)
    }
    document = {
        "benchmarks": benchmarks,
        "metadata": {"unit": "second", **about},
        "version": "1.0",
    }
    return json.dumps(document, indent=1) + "\n"


def google_benchmark_json(records: Records) -> str:
    """The JSON report of Google Benchmark, as its tools/compare.py reads it: nanoseconds.

    Source of the format: docs/user_guide.md of google/benchmark, "Output Formats".
    """
    benchmarks = []
    for index, (name, cycles, row) in enumerate(_timed(records)):
        nanoseconds = cycles / load_core(str(row["core"])).clock_ghz
        counters = {
            key: value
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        benchmarks.append(
            {
                "name": name,
                "family_index": index,
                "per_family_instance_index": 0,
                "run_name": name,
                "run_type": "iteration",
                "repetitions": 1,
                "repetition_index": 0,
                "threads": 1,
                "iterations": 1,
                "real_time": nanoseconds,
                "cpu_time": nanoseconds,
                "time_unit": "ns",
                **counters,
            }
        )
    context = {
        "executable": "tramposim",
        "library_version": str(records.meta.get("version", "")),
        "library_build_type": "release",
        "caches": [],
    }
    return json.dumps({"context": context, "benchmarks": benchmarks}, indent=1) + "\n"
