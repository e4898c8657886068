"""Replayed images as a table: what executed, what it costs, how that compares with silicon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records, Value
from tramposim.study.replay import summary_of

__all__ = ["replay_markdown", "replay_text"]

_COLUMNS = (
    Column("id", "id", text=True),
    Column("cycles_per_call", "cycles"),
    Column("instructions_per_call", "insns", decimals=0),
    Column("uops_per_call", "uops", decimals=0),
    Column("return_mispredicts_per_call", "ret miss", decimals=0),
    Column("image_bytes", "image B"),
    Column("data_pages", "pages"),
    Column("function", "function", text=True),
)

_COMPARED = (
    Column("id", "id", text=True),
    Column("cycles_per_call", "cycles"),
    Column("measured_cycles_per_call", "measured"),
    Column("error_percent", "error %"),
    Column("instructions_per_call", "insns", decimals=0),
    Column("measured_instructions_per_call", "measured"),
    Column("uops_per_call", "uops", decimals=0),
    Column("image_bytes", "image B"),
    Column("function", "function", text=True),
)

_FUNCTIONS = (
    Column("id", "id", text=True),
    Column("cycles_per_call", "cycles"),
    Column("guest_cycles_per_call", "guest"),
    Column("difference_percent", "diff %"),
    Column("instructions_per_call", "insns", decimals=0),
    Column("guest_instructions_per_call", "guest", decimals=0),
    Column("not_captured", "not captured", text=True),
)

_LEGEND = (
    "cycles: core cycles per call, calling loop included, everything hot; insns, uops "
    "(unfused): executed per call; ret miss: mispredicted returns; pages: data pages that "
    "appeared, zeroed; function: the traced function's captured code, or a stand-in that "
    "returns at once where only its beginning is captured; guest: the guest runtime's functions "
    "in place of the captured ones, where those are replayed by themselves."
)


def replay_text(records: Records, output: str = "-") -> str:
    """The table, then every error as a line, then what a comparison sums up to."""
    rows = [row for row in records.rows if "error" not in row]
    parts: list[TextTable | str] = []
    for title, section in _sections(rows):
        parts.append(TextTable(_columns(section), section, title))
    if rows:
        parts.append(_LEGEND)
    parts += [f"{row['id']}: {row['error']}" for row in records.rows if "error" in row]
    parts += _sums(records.rows)
    return render(*parts, output=output)


def replay_markdown(records: Records) -> str:
    """The same as Markdown."""
    rows = [row for row in records.rows if "error" not in row]
    blocks = []
    for title, section in _sections(rows):
        blocks.append(f"## {title}\n\n{markdown_table(_columns(section), section)}")
    lines = [f"- `{row['id']}`: {row['error']}" for row in records.rows if "error" in row]
    lines += _sums(records.rows)
    return "\n".join([*blocks, _LEGEND, *lines]) + "\n"


def _columns(rows: Sequence[Mapping[str, Value]]) -> tuple[Column, ...]:
    if any("difference_percent" in row for row in rows):
        return _FUNCTIONS
    return _COMPARED if any("error_percent" in row for row in rows) else _COLUMNS


def _sections(
    rows: Sequence[Mapping[str, Value]],
) -> list[tuple[str, Sequence[Mapping[str, Value]]]]:
    """Rows of one kernel and core under a title that names them."""
    sections: dict[str, list[Mapping[str, Value]]] = {}
    for row in rows:
        error = row["core_error"]
        title = (
            f"{row['arch']} kernel {row['kernel']} ({row['variant']}), captured code, "
            f"on {row['core']} ({error})"
        )
        sections.setdefault(title, []).append(row)
    return list(sections.items())


def _sums(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """One line on how many were replayed, one on the errors against measured cycles."""
    failed = sum("error" in row for row in rows)
    lines = [f"{len(rows) - failed} replayed, {failed} failed"]
    summary = summary_of(rows)
    if summary is not None:
        lines.append(
            f"error against measured cycles over {summary['rows']} rows: mean "
            f"{summary['mean_error_percent']} %, median {summary['median_error_percent']} %, "
            f"worst {summary['worst_error_percent']} % ({summary['worst_id']})"
        )
    return lines
