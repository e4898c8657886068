"""What a record holds, and its Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tramposim.report.accuracy import accuracy_markdown
from tramposim.report.checks import checks_markdown, code_markdown
from tramposim.report.columns import Column
from tramposim.report.compare import compare_markdown
from tramposim.report.curve import curve_markdown
from tramposim.report.export import markdown_table, records_csv
from tramposim.report.load import load_markdown
from tramposim.report.native import native_markdown
from tramposim.report.own import own_markdown
from tramposim.report.replay import replay_markdown
from tramposim.report.sensitivity import sensitivity_markdown
from tramposim.report.sweep import sweep_markdown
from tramposim.study.records import Records, encode_records

__all__ = ["all_columns", "exported", "kind_of", "records_markdown"]


def kind_of(records: Records) -> str:
    """The command that made it; where one makes several kinds, which: `own` (a comparison of
    programs of a file), `functions` and `curve` (loads over functions and over rates).
    """
    command = str(records.meta.get("command", ""))
    if command == "compare" and "source" in records.meta:
        return "own"
    if command == "load" and len({row.get("functions") for row in records.rows}) > 1:
        return "functions"
    if command == "load" and len({row.get("offered_calls_per_s") for row in records.rows}) > 1:
        return "curve"
    return command


def records_markdown(records: Records) -> str:
    """The tables that the record's command prints; for one that prints none, all fields."""
    return _MARKDOWN.get(kind_of(records), _anything)(records)


def exported(records: Records, format_name: str) -> str:
    """The record as `json`, `csv` or `md`."""
    return {"json": encode_records, "csv": records_csv, "md": records_markdown}[format_name](
        records
    )


def all_columns(records: Records) -> list[Column]:
    """A column for every field, in order of first appearance."""
    return [
        Column(name, name, decimals=2, text=any(isinstance(r.get(name), str) for r in records.rows))
        for name in dict.fromkeys(name for row in records.rows for name in row)
    ]


def _anything(records: Records) -> str:
    return markdown_table(all_columns(records), records.rows)


_MARKDOWN: Mapping[str, Callable[[Records], str]] = {
    "compare": compare_markdown,
    "own": own_markdown,
    "sweep": sweep_markdown,
    "load": load_markdown,
    "functions": load_markdown,
    "curve": curve_markdown,
    "cores --accuracy": accuracy_markdown,
    "cores --sensitivity": sensitivity_markdown,
    "native": native_markdown,
    "replay": replay_markdown,
    "image": code_markdown,
    "jit": code_markdown,
    "verify": checks_markdown,
    "doctor": checks_markdown,
}
