"""What a core's results hang on, as a table: uncertain numbers by how far they move a call."""

from __future__ import annotations

from collections.abc import Mapping

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records, Value

__all__ = ["sensitivity_markdown", "sensitivity_text"]

_COLUMNS = (
    Column("state", "state", text=True),
    Column("number", "number", text=True),
    Column("values", "value", text=True),
    Column("cycles_per_call", "cycles"),
    Column("cycles_range", "range", text=True),
    Column("change_percent", "change %"),
    Column("of", "of scenario", text=True),
    Column("pair_range", "×pair", text=True),
)

_LEGEND = (
    "value: as the core file has it, and what it was moved to; cycles per call of the scenario "
    "that moves most, and their range over these values; ×pair: what one empty fsession costs "
    "relative to the empty pair. all together: every number where it lowers the cycles, and "
    "where it raises them."
)


def sensitivity_text(records: Records, output: str = "-") -> str:
    """A table per core, then what was moved, and the sources."""
    parts: list[TextTable | str] = []
    for core in _cores(records):
        rows = _rows(records, core)
        parts.append(
            TextTable(
                _COLUMNS,
                rows,
                f"What {core} hangs on ({_moved(records, core)})",
                section_of=lambda row: row["state"],
            )
        )
        parts += [f"{line}." for line in _sources(rows)]
    return render(*parts, *_notes(records), output=output)


def sensitivity_markdown(records: Records) -> str:
    """The same as Markdown."""
    parts = []
    for core in _cores(records):
        rows = _rows(records, core)
        parts.append(f"**{core}**: {_moved(records, core)}.\n\n{markdown_table(_COLUMNS, rows)}")
        parts.append("".join(f"- {line}\n" for line in _sources(rows)))
    parts += [f"{line}\n" for line in _notes(records)]
    return "\n".join(part for part in parts if part)


def _cores(records: Records) -> list[str]:
    return list(records.meta["moved"])


def _rows(records: Records, core: str) -> list[Mapping[str, Value]]:
    return [_shown(row) for row in records.rows if row["core"] == core]


def _shown(row: Mapping[str, Value]) -> Mapping[str, Value]:
    """The row with what the table puts together."""
    group = {"classes": "latency of ", "pools": "pool "}.get(str(row.get("group")), "")
    body = "" if row["body"] == "empty" else f":{row['body']}"
    values = f"{str(row['value']).lower()} → {row['moved_to']}" if "value" in row else ""
    low, high = row["fsession_to_pair_low"], row["fsession_to_pair_high"]
    return {
        **row,
        "number": f"{group}{row['name']}",
        "values": values,
        "cycles_range": f"{row['cycles_low']:,.0f} to {row['cycles_high']:,.0f}",
        "of": f"{row['scenario']}{body}",
        "pair_range": f"{low:.2f} to {high:.2f}",
    }


def _moved(records: Records, core: str) -> str:
    meta = records.meta
    count = meta["moved"][core]
    numbers = f"{count} number{'' if count == 1 else 's'} of confidence {meta['confidence']}"
    if meta["confidence"] != "low":
        numbers += " or lower"
    return f"{numbers} moved by {meta['moved_percent']:.0f} %"


def _sources(rows: list[Mapping[str, Value]]) -> list[str]:
    """What each number of the table is taken from, numbers with one source together."""
    numbers: dict[str, list[str]] = {}
    for row in rows:
        if "source" in row:
            numbers.setdefault(str(row["source"]), []).append(str(row["number"]))
    return [f"{', '.join(dict.fromkeys(names))}: {source}" for source, names in numbers.items()]


def _notes(records: Records) -> list[str]:
    lines = [
        f"{core}: nothing moves a call by {records.meta['least_percent']:.0f} % or more."
        for core in _cores(records)
        if not any(row["core"] == core for row in records.rows)
    ]
    lines.append(_LEGEND)
    if records.meta["not_moved"]:
        lines.append(f"No other value is possible: {', '.join(records.meta['not_moved'])}.")
    return lines
