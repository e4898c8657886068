"""Changes between two records as tables."""

from __future__ import annotations

from collections.abc import Sequence

from tramposim.report.columns import Column
from tramposim.report.table import TextTable, render
from tramposim.study.changes import Change, Changes

__all__ = ["changes_text", "regressions_text"]

_COLUMNS = (
    Column("row", "row", text=True),
    Column("field", "field", text=True),
    Column("before", "before", decimals=2),
    Column("after", "after", decimals=2),
    Column("difference", "difference", decimals=2),
    Column("percent", "%", decimals=1),
)


def _table(changes: Sequence[Change], title: str) -> TextTable:
    rows = [
        {
            "row": change.row,
            "field": change.field,
            "before": change.before,
            "after": change.after,
            "difference": change.difference,
            "percent": change.percent,
        }
        for change in changes
    ]
    return TextTable(_COLUMNS, rows, title, section_of=lambda row: row["row"])


def changes_text(changes: Changes, before: str, after: str, output: str = "-") -> str:
    """Every changed number, then the rows that only one side has."""
    lines = [f"Only in {before}: {row}" for row in changes.gone]
    lines += [f"Only in {after}: {row}" for row in changes.added]
    if not changes.changes:
        return render(
            f"{changes.compared} rows compared: no number differs.", *lines, output=output
        )
    title = f"{before} -> {after}, {changes.compared} rows compared"
    return render(_table(changes.changes, title), *lines, output=output)


def regressions_text(
    changes: Changes, worse: Sequence[Change], limit_percent: float, output: str = "-"
) -> str:
    """The regressions beyond the limit, or that there are none."""
    limit = f"{limit_percent:g} %"
    if not worse:
        return render(f"{changes.compared} rows compared: none is worse by more than {limit}.",
                      output=output)  # fmt: skip
    title = (
        f"{len(worse)} numbers are worse by more than {limit} ({changes.compared} rows compared)"
    )
    return render(_table(worse, title), output=output)
