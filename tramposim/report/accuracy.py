"""Accuracy of the core models as a table: errors against silicon, a row per core and data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records, Value

__all__ = ["accuracy_markdown", "accuracy_text"]

_COLUMNS = (
    Column("core", "core", text=True),
    Column("data", "data", text=True),
    Column("rows", "rows"),
    Column("mean_error_percent", "mean %"),
    Column("median_error_percent", "median %"),
    Column("worst_error_percent", "worst %"),
    Column("rows_close_percent", "close %"),
    Column("kendall_tau", "tau", decimals=3),
    Column("failed", "not timed"),
)

_LEGEND = (
    "mean, median, worst: size of the error against the measured cycles; close: share of rows "
    "within 5 % or 0.1 cycle; tau: Kendall's rank correlation. images: captured trampolines "
    "replayed, without bpf_modify_return_test*, whose cycles vary threefold with the addresses "
    "of their data; table: scenarios by return style and entry; state passing: whole calls with "
    "programs, made in an RCU read-side section; blocks: unrolled straight code; micro-kernels: a "
    "mechanism each; published: latencies and throughputs of single instructions from public "
    "sources, which the core files are made from too: no calibration."
)

_NO_DATA = (
    "No measured data here: --data DIR names the folder that holds CORE-images.csv, "
    "CORE-table.md, CORE-state-passing.csv, CORE-blocks.csv, CORE-microkernels.csv."
)


def accuracy_text(records: Records, output: str = "-") -> str:
    """The table, then the worst rows, then what is missing."""
    table = TextTable(
        _COLUMNS,
        records.rows,
        "Core models against measured cycles",
        section_of=lambda row: row["core"],
    )
    worst = ["Worst rows:", *(f"  {line}" for line in _worst(records.rows))]
    return render(table, *(worst if len(worst) > 1 else ()), *_notes(records), output=output)


def accuracy_markdown(records: Records) -> str:
    """The same as Markdown."""
    parts = [markdown_table(_COLUMNS, records.rows)]
    worst = _worst(records.rows)
    if worst:
        parts.append("Worst rows:\n\n" + "\n".join(f"- {line}" for line in worst) + "\n")
    parts += [f"{line}\n" for line in _notes(records)]
    return "\n".join(parts)


def _worst(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    return [f"{row['core']}, {row['data']}: {row['worst']}" for row in rows if "worst" in row]


def _notes(records: Records) -> list[str]:
    """What a reader must know beside the numbers."""
    without = [str(row["core"]) for row in records.rows if row.get("note") == "uncalibrated"]
    lines = []
    if without:
        lines.append(f"uncalibrated (no measurement of their silicon): {', '.join(without)}.")
    lines += [
        f"{row['core']}, {row['data']}: {row['note']}" for row in records.rows if "failed" in row
    ]
    if records.meta["sample"]:
        lines.append(
            f"At most {records.meta['sample']} rows of each data set, drawn with seed "
            f"{records.meta['seed']}."
        )
    if not records.meta["data"]:
        lines.append(_NO_DATA)
    return [*lines, _LEGEND]
