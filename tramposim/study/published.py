"""Published timings of instructions: latencies and throughputs that others measured or state.

`published.csv` holds a row per case: `core`, `name`, `code` (machine code of one unit in
hexadecimal), `mode` of `timing.throughput`, `units` (how many times the measured thing occurs
in `code`), `cycles` per unit, and the `source`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from tramposim.errors import TramposimError
from tramposim.timing import Core
from tramposim.timing.throughput import Mode, throughput

__all__ = ["PublishedCase", "load_published", "time_published"]

_DATA = Path(__file__).parent / "published.csv"


@dataclass(frozen=True, slots=True)
class PublishedCase:
    """One timing of one core, in cycles per unit, with where it is published."""

    core: str
    name: str
    code: bytes
    mode: Mode
    units: int
    cycles: float
    source: str


@cache
def load_published(core: str | None = None) -> tuple[PublishedCase, ...]:
    """The cases of core `core` (None: of all), in the order of their file."""
    with _DATA.open(newline="", encoding="utf-8") as stream:
        return tuple(
            PublishedCase(
                row["core"],
                row["name"],
                bytes.fromhex(row["code"]),
                cast(Mode, row["mode"]),
                int(row["units"]),
                float(row["cycles"]),
                row["source"],
            )
            for row in csv.DictReader(stream)
            if core in (None, row["core"])
        )


def time_published(case: PublishedCase, core: Core) -> tuple[float | None, str]:
    """Cycles per unit by the model, or None and why it has none."""
    try:
        return throughput(case.code, core, case.mode).cycles / case.units, ""
    except TramposimError as error:
        return None, str(error)
