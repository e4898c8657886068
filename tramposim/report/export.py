"""Records as CSV and Markdown tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from tramposim.report.columns import Column, format_value
from tramposim.study.records import Records

__all__ = ["markdown_table", "records_csv"]


def records_csv(records: Records) -> str:
    """CSV with one column per field, in order of first appearance; absent values are empty."""
    fields = list(dict.fromkeys(name for row in records.rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for row in records.rows:
        values = (row.get(name) for name in fields)
        writer.writerow("" if value is None else value for value in values)
    return text.getvalue()


def markdown_table(columns: Sequence[Column], rows: Sequence[Mapping[str, object]]) -> str:
    """A GitHub-flavoured table; numbers are right-aligned."""
    lines = [
        "| " + " | ".join(_escaped(column.heading) for column in columns) + " |",
        "|" + "|".join(" :-- " if column.text else " --: " for column in columns) + "|",
    ]
    lines += [
        "| " + " | ".join(_escaped(format_value(column, row)) for column in columns) + " |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
