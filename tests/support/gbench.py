"""A reader of Google Benchmark's JSON, written from what its compare tool does with a file: rows
of one name are repetitions, and times are compared within one unit."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Repetition:
    """One row: times in `unit`."""

    unit: str
    real: float
    cpu: float


def read_gbench(text: str) -> dict[str, list[Repetition]]:
    """Repetitions by name, in the file's order; raises for a row that could not be compared."""
    document = json.loads(text)
    order = [(row["family_index"], row["per_family_instance_index"], row["repetition_index"])
             for row in document["benchmarks"]]  # fmt: skip
    if order != sorted(order):
        raise ValueError("the tool sorts rows by family, instance and repetition")
    found: dict[str, list[Repetition]] = {}
    for row in document["benchmarks"]:
        if row["time_unit"] not in ("ns", "us", "ms", "s"):
            raise ValueError(row["time_unit"])
        if row["run_type"] == "aggregate" and "aggregate_name" not in row:
            raise ValueError("an aggregate without its name")
        one = Repetition(row["time_unit"], float(row["real_time"]), float(row["cpu_time"]))
        found.setdefault(row["name"], []).append(one)
    return found


def changes(old: dict[str, list[Repetition]], new: dict[str, list[Repetition]]) -> dict[str, float]:
    """Relative change of the time of each name that both have."""
    return {
        name: (new[name][0].real - before[0].real) / before[0].real
        for name, before in old.items()
        if name in new and new[name][0].unit == before[0].unit
    }
