"""A sweep as a table: a row per machine, a column per scenario, and who wins where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tramposim.errors import InputError
from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.load import per_second
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records
from tramposim.study.scenario import parse_scenario

__all__ = ["FIELDS", "sweep_markdown", "sweep_sentences", "sweep_table", "sweep_text"]

_Row = Mapping[str, Any]

FIELDS: Mapping[str, str] = {
    "cycles_over_untraced": "core cycles per call that the scenario adds to the untraced call",
    "cycles_per_call": "core cycles per call, the call itself included",
    "over_pair_ratio": "cycles that the scenario adds, relative to fentry+fexit with the same "
    "kind of body",
    "added_percent_of_one_cpu": "cycles that tracing adds, in percent of one CPU (the calls of "
    "all CPUs together); with --workload",
    "instructions_per_call": "instructions per call",
    "uops_per_call": "unfused uops per call",
    "image_bytes": "bytes of the trampoline image",
}
"""What a table may show: field of the record, and what its cells are."""

_MACHINE = ("arch", "core", "kernel", "returns", "entry", "state")
_DECIMALS = {
    "over_pair_ratio": 2,
    "added_percent_of_one_cpu": 3,
    "instructions_per_call": 0,
    "uops_per_call": 0,
}
_REFUSED, _UNKNOWN = "refused", "error"


def sweep_text(records: Records, field: str = "cycles_over_untraced", output: str = "-") -> str:
    """The table of one field for a terminal, or as plain text for a file."""
    columns, rows = sweep_table(records, field)
    table = TextTable(columns, rows, _title(records), section_of=lambda row: row.get("arch"))
    notes = [part for note in _notes(records, field) for part in (note, "")]
    return render(table, *notes[:-1], output=output)


def sweep_markdown(records: Records, field: str = "cycles_over_untraced") -> str:
    """The same as Markdown."""
    columns, rows = sweep_table(records, field)
    blocks = [f"### {_title(records)}", markdown_table(columns, rows).rstrip()]
    return "\n\n".join([*blocks, *_notes(records, field)]) + "\n"


def _title(records: Records) -> str:
    """What is traced, and the words of every axis on which the rows are alike."""
    axes = records.meta["axes"]
    first: _Row = records.rows[0]
    constant = [name for name in _MACHINE if name not in (*axes, "entry")]
    title = str(records.meta["function"])
    if "workload" in records.meta:
        rate = first.get("offered_calls_per_s")
        pace = "calls at full speed" if rate is None else f"{per_second(rate)} calls/s"
        title = f"workload {records.meta['workload']}: {pace} of {title}"
    if "arch" in constant:
        title += f" on {first['arch']}"
    return ", ".join([title, *(_constant(n, str(first[n])) for n in constant if n != "arch")])


def _constant(name: str, word: str) -> str:
    before, after = {
        "kernel": ("kernel ", ""),
        "returns": ("", " returns"),
        "core": ("core ", ""),
    }.get(name, ("", ""))
    return f"{before}{word}{after}"


def sweep_table(records: Records, field: str) -> tuple[list[Column], list[dict[str, object]]]:
    """Columns and lines: a line per machine, a column per scenario and body.

    Raises `InputError` for a field that no row has.
    """
    if not any(field in row for row in records.rows):
        raise InputError(f"no row has {field}", "--field")
    axes = records.meta["axes"]
    leading = [name for name in _MACHINE if name in axes]
    shown = [row for row in records.rows if row["scenario"] != "untraced" or field in _ABSOLUTE]
    cells = dict.fromkeys(map(_cell, shown))
    columns = [
        *(Column(name, name, text=True) for name in leading),
        *(Column("\n".join(cell), "\n".join(cell), _DECIMALS.get(field, 1)) for cell in cells),
    ]
    lines: dict[tuple[object, ...], dict[str, object]] = {}
    for row in shown:
        for key in _keys(row, leading, axes):
            line = lines.setdefault(key, dict(zip(leading, key, strict=True)))
            line["\n".join(_cell(row))] = _value(row, field)
    return columns, list(lines.values())


_ABSOLUTE = frozenset(["cycles_per_call", "instructions_per_call", "uops_per_call"])
"""Fields that an untraced call has."""


def _cell(row: _Row) -> tuple[str, str]:
    return str(row["scenario"]), str(row["body"])


def _keys(
    row: _Row, leading: Sequence[str], axes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[object, ...]]:
    """The lines that a row is in: an untraced call, which enters no image, is in all."""
    if "entry" in leading and row["scenario"] == "untraced":
        for entry in axes["entry"]:
            yield tuple(entry if name == "entry" else row[name] for name in leading)
    else:
        yield tuple(row.get(name) for name in leading)


def _value(row: _Row, field: str) -> object:
    if _REFUSED in row:
        return _REFUSED
    return _UNKNOWN if "error" in row else row.get(field)


def sweep_sentences(records: Records) -> list[str]:
    """For each session and each body: what it adds, as a multiple of what the pair adds."""
    found = []
    ratios: dict[tuple[str, str], list[_Row]] = {}
    for row in records.rows:
        if str(row["scenario"]).startswith("fsession") and "over_pair_ratio" in row:
            ratios.setdefault(_cell(row), []).append(row)
    for (scenario, body), rows in ratios.items():
        low = min(rows, key=lambda row: float(row["over_pair_ratio"]))
        high = max(rows, key=lambda row: float(row["over_pair_ratio"]))
        wins = sum(row["over_pair_ratio"] < 1 for row in rows)
        start = f"{scenario} ({body}) adds"
        count = (parse_scenario(scenario).pairing or ("", 1))[1]
        pair = f"fentry*{count}+fexit*{count}" if count > 1 else "fentry+fexit"
        what = f"what {pair} adds"
        if len(rows) == 1:
            found.append(f"{start} {low['over_pair_ratio']:.2f} times {what}.")
            continue
        found.append(
            f"{start} {low['over_pair_ratio']:.2f} ({_place(low, records)}) to "
            f"{high['over_pair_ratio']:.2f} ({_place(high, records)}) times {what}; less than 1 "
            f"in {wins} of {len(rows)} rows."
        )
    return found


def _place(row: _Row, records: Records) -> str:
    axes = records.meta["axes"]
    words = [name for name in _MACHINE if name in axes and not (name == "arch" and "core" in axes)]
    return " ".join(str(row[name]) for name in words if row.get(name) is not None)


def _notes(records: Records, field: str) -> list[str]:
    """What follows from the rows, what the cells are, and why some are empty."""
    notes = [*sweep_sentences(records), f"Cells: {FIELDS[field]}."]
    for kind, words in (
        (_REFUSED, "refused: the kernel would not attach it"),
        ("error", "error: not measured"),
    ):
        reasons = dict.fromkeys(str(row[kind]) for row in records.rows if kind in row)
        if reasons:
            notes.append(f"{words}: {'; '.join(reasons)}.")
    return [*notes, f"Basis: {records.meta['basis']}."]
