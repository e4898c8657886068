"""Native measurements beside the core model, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records

__all__ = ["native_markdown", "native_text"]

_UNITS = {"scenarios": "cycles_per_call", "micro-kernels": "cycles_per_unit", "blocks": "cycles"}
_KEYS = {
    "scenarios": (Column("scenario", "scenario", text=True), Column("body", "body", text=True)),
    "micro-kernels": (Column("kernel", "kernel", text=True),),
    "blocks": (Column("hex", "block", text=True),),
}

LEGEND = (
    "native: median core cycles on this CPU; 5 %, 95 %: percentiles of the kept samples; kept: "
    "samples beside which the core was idle; clock: how cycles were counted (perf events, or "
    "the time stamp counter scaled by a dependent chain). All hot, user mode."
)


def _columns(records: Records) -> tuple[Column, ...]:
    what = records.meta["what"]
    unit = _UNITS[what]
    decimals = 1 if what == "scenarios" else 2
    columns = [
        *_KEYS[what],
        Column(f"native_{unit}", "native", decimals=decimals),
        Column(f"native_{unit}_low", "5 %", decimals=decimals),
        Column(f"native_{unit}_high", "95 %", decimals=decimals),
    ]
    if records.meta["core"]:
        columns += [
            Column(f"model_{unit}", "model", decimals=decimals),
            Column("model_error_percent", "error %", decimals=1),
        ]
    columns += [
        Column("samples_kept", "kept"),
        Column("samples", "of"),
        Column("clock", "clock", text=True),
    ]
    return tuple(columns)


def _title(records: Records) -> str:
    meta = records.meta
    model = f"core model {meta['core']}" if meta["core"] else "no core model of this CPU: --core"
    return f"{meta['what']} on {meta['cpu']}; {model}"


def _rows(records: Records) -> list[Mapping[str, object]]:
    return [row for row in records.rows if "error" not in row]


def _failures(records: Records) -> list[str]:
    name = _KEYS[records.meta["what"]][0].field
    return [f"Not measured: {row[name]}: {row['error']}" for row in records.rows if "error" in row]


def _summary(records: Records) -> str:
    found = (row.get("model_error_percent") for row in records.rows)
    errors = [abs(float(str(error))) for error in found if error is not None]
    if not errors:
        return ""
    mean, median = statistics.mean(errors), statistics.median(errors)
    return (
        f"Model {records.meta['core']} against this CPU: mean error {mean:.1f} %, "
        f"median {median:.1f} %, worst {max(errors):.1f} % of {len(errors)} rows."
    )


def native_text(records: Records, output: str = "-") -> str:
    """The table for a terminal, or as plain text for a file."""
    table = TextTable(_columns(records), _rows(records), _title(records))
    lines = [line for line in (*_failures(records), LEGEND, _summary(records)) if line]
    return render(table, *lines, output=output)


def native_markdown(records: Records) -> str:
    """The same as Markdown."""
    table = markdown_table(_columns(records), _rows(records))
    lines = [line for line in (*_failures(records), LEGEND, _summary(records)) if line]
    return "\n".join([f"### {_title(records)}", "", table, *(f"{line}\n" for line in lines)])
