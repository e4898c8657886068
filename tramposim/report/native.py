"""Native measurements beside the core model, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table, records_csv
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records, Value

__all__ = ["native_data", "native_markdown", "native_text"]

_UNITS = {"scenarios": "cycles_per_call", "micro-kernels": "cycles_per_unit", "blocks": "cycles"}
_KEYS = {
    "scenarios": (
        Column("entry", "entry", text=True),
        Column("returns", "returns", text=True),
        Column("scenario", "scenario", text=True),
        Column("body", "body", text=True),
    ),
    "micro-kernels": (Column("kernel", "kernel", text=True),),
    "blocks": (Column("hex", "block", text=True),),
}

_DATA = {
    "scenarios": {
        "kernel": "kernel",
        "entry": "entry",
        "returns": "returns",
        "scenario": "scenario",
        "body": "body",
        "native_cycles_per_call": "cycles_per_call_median",
        "native_cycles_per_call_low": "low",
        "native_cycles_per_call_high": "high",
    },
    "micro-kernels": {
        "kernel": "name",
        "native_cycles_per_unit": "cycles_per_unit_median",
        "native_cycles_per_unit_low": "low",
        "native_cycles_per_unit_high": "high",
    },
    "blocks": {
        "hex": "hex",
        "mode": "mode",
        "native_cycles": "cycles_per_iteration_median",
        "native_cycles_low": "low",
        "native_cycles_high": "high",
    },
}
"""Fields of a record that are a measurement, and their columns in a file of measurements."""

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


def _rows(records: Records) -> list[Mapping[str, Value]]:
    return [row for row in records.rows if "error" not in row]


def _failures(records: Records) -> list[str]:
    fields = [column.field for column in _KEYS[records.meta["what"]]]
    return [
        f"Not {what}: {' '.join(str(row[f]) for f in fields if row.get(f))}: {row[field]}"
        for row in records.rows
        for what, field in (("measured", "error"), ("modelled", "model_error"))
        if field in row
    ]


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


def native_data(records: Records) -> str:
    """What was measured as a file of measurements for `study.accuracy`: rows without errors."""
    columns = _DATA[records.meta["what"]] | {"samples_kept": "kept", "samples": "samples"}
    rows = tuple(
        {column: row.get(field) for field, column in columns.items()} for row in _rows(records)
    )
    return records_csv(Records(records.meta, rows))
