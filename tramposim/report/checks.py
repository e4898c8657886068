"""Tables of machine code and of checks: their columns, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.study.records import Records

__all__ = ["checks_markdown", "code_markdown", "findings_text"]

_PARTS = (
    Column("program", "program", text=True),
    Column("function", "function"),
    Column("part", "part", text=True),
    Column("detail", "of", text=True),
    Column("slot", "slot", text=True),
    Column("offset_bytes", "at"),
    Column("bytes", "bytes"),
    Column("instructions", "instructions"),
)

_CHECKS = (
    Column("file", "file", text=True),
    Column("id", "record", text=True),
    Column("subject", "compared", text=True),
    Column("what", "checked", text=True),
    Column("passed", "ok", text=True),
    Column("problem", "problem", text=True),
    Column("detail", "detail", text=True),
)


def code_markdown(records: Records) -> str:
    """Parts of machine code, or slots of a frame, a line each."""
    return markdown_table(_present(_PARTS, records.rows), records.rows)


def findings_text(records: Records) -> str:
    """What an installation's self-test found, a line each."""
    return "".join(
        f"{'ok  ' if row['passed'] else 'FAIL'} {row['what']}: {row['detail']}\n"
        for row in records.rows
    )


def checks_markdown(records: Records) -> str:
    """What was checked, of comparisons with captures only what failed, and how many passed."""
    rows = records.rows
    if records.meta["command"] == "verify":
        rows = tuple(row for row in rows if not row["passed"])
    table = markdown_table(_present(_CHECKS, rows), rows) + "\n" if rows else ""
    return f"{table}{records.meta['passed']} passed, {records.meta['failed']} failed\n"


def _present(columns: Sequence[Column], rows: Sequence[Mapping[str, object]]) -> list[Column]:
    return [c for c in columns if any(row.get(c.field) is not None for row in rows)]
