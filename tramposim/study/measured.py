"""Cycles that were measured on silicon, by the id of what was measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tramposim.errors import InputError

__all__ = ["Measured", "read_ids", "read_measured"]

_CYCLES = "hw_cycles_median"
_INSTRUCTIONS = "ninst"


@dataclass(frozen=True, slots=True)
class Measured:
    """A row: median cycles per call, and instructions per call (0: not given)."""

    cycles: float
    instructions: int


def read_measured(path: Path) -> Mapping[str, Measured]:
    """Rows of a CSV with columns `id` and `hw_cycles_median`, in file order.

    Raises `InputError` for a file that cannot be read or lacks them.
    """
    found: dict[str, Measured] = {}
    for number, row in enumerate(_rows(path, ("id", _CYCLES)), 2):
        where = f"{path}:{number}"
        try:
            cycles, count = float(row[_CYCLES]), int(row.get(_INSTRUCTIONS) or 0)
        except (TypeError, ValueError):
            raise InputError("cycles or instructions that are no number", where) from None
        if not row["id"] or not math.isfinite(cycles) or cycles <= 0 or count < 0:
            raise InputError("a row without id or with cycles that cannot be", where)
        found[row["id"]] = Measured(cycles, count)
    return found


def read_ids(text: str) -> tuple[str, ...]:
    """Ids of a list: a file (CSV with a column `id`, or one id a line), or `a,b,c` itself.

    Raises `InputError` for an empty list or an unreadable file.
    """
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:
        is_file = False
    if not is_file:
        ids = tuple(word.strip() for word in text.split(",") if word.strip())
    elif path.suffix == ".csv":
        ids = tuple(row["id"] for row in _rows(path, ("id",)) if row["id"])
    else:
        ids = tuple(line.strip() for line in _text(path).splitlines() if line.strip())
    if not ids:
        raise InputError("names no id", text)
    return ids


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot be read: {reason}", str(path)) from None


def _rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(_text(path).splitlines())
        rows = list(reader)
    except csv.Error as error:
        raise InputError(f"no CSV: {error}", str(path)) from None
    for column in needed:
        if column not in (reader.fieldnames or ()):
            raise InputError(f"no column {column!r} in the first line", str(path))
    return rows
