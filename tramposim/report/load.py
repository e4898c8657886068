"""What tracing costs at a call rate, as a readable answer: a table per architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.own import shortened, stated_sentences
from tramposim.report.pairs import body_kind, is_session, pairs_against
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records

__all__ = ["interrupted", "load_markdown", "load_text", "per_second", "subject"]

_Row = Mapping[str, Any]

_COLUMNS = (
    Column("scenario", "scenario", text=True),
    Column("body", "body", text=True),
    Column("calls_per_s", "calls/s"),
    Column("cycles_per_call", "cycles"),
    Column("cycles_over_untraced", "over"),
    Column("added_percent_of_one_cpu", "+% CPU"),
    Column("utilisation_percent", "util"),
    Column("latency_p50_ns", "p50"),
    Column("latency_p99_ns", "p99"),
    Column("latency_p99_99_ns", "p99.99"),
    Column("saturation_calls_per_s", "max/s"),
)

_TIME_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))

LEGEND = (
    "cycles: core cycles of one call, over: what tracing adds to it; +% CPU: cycles that "
    "tracing adds, in percent of one CPU (the calls of all CPUs together); util: percent of "
    "their time that the CPUs spend on calls and their work; p50 to p99.99: time from a call's "
    "arrival to its completion, waiting and work included (exact to 0.2 %); max/s: calls per "
    "second at which the CPUs saturate."
)


def load_text(records: Records, output: str = "-") -> str:
    """Tables and what follows from them, for a terminal or as plain text for a file."""
    parts: list[Any] = []
    for title, rows in _tables(records):
        parts += [
            TextTable(
                _columns(rows),
                _shown(rows),
                title,
                section_of=body_kind,
                strong=is_session,
            ),
            *_sentences(rows),
            "",
        ]
    return render(*parts, LEGEND, *_closing(records), output=output)


def load_markdown(records: Records) -> str:
    """The same as Markdown."""
    blocks = []
    for title, rows in _tables(records):
        heading, *rest = title.split("\n")
        blocks += [f"### {heading}\n", *rest, "", markdown_table(_columns(rows), _shown(rows))]
        blocks += [sentence + "\n" for sentence in _sentences(rows)]
    return "\n".join([*blocks, LEGEND, "", *_closing(records)]) + "\n"


def _tables(records: Records) -> list[tuple[str, list[_Row]]]:
    def machine(row: _Row) -> tuple[object, ...]:
        keys = ("arch", "core", "kernel", "offered_calls_per_s", "functions")
        return tuple(row.get(key) for key in keys)

    tables = []
    for _, group in groupby(records.rows, machine):
        rows = list(group)
        tables.append((_title(records, rows[0]), rows))
    return tables


def _title(records: Records, row: _Row) -> str:
    meta, rate, cpus = records.meta, row["offered_calls_per_s"], row["cpus"]
    if rate is not None:
        offered = f"{per_second(rate)} calls/s"
    else:
        offered = (
            "calls at recorded times" if meta["arrivals"] == "replay" else "calls at full speed"
        )
    work, functions = row["work_cycles_per_call"], row.get("functions", 1)
    nested = row.get("calls_per_arrival", 1)
    called = f", each {nested:,} calls" if nested > 1 else ""
    called += f" of {functions:,} functions" if functions > 1 else ""
    return (
        f"{subject(records, row)} on {row['arch']}, kernel {row.get('kernel')}: {offered} "
        f"({meta['arrivals']}){called} to {cpus} CPU{'s' if cpus > 1 else ''} "
        f"at {row['clock_ghz']:g} GHz\n"
        f"core {row.get('core')} (model error: {row.get('core_error')})"
        + (f"; {work:,.0f} cycles of work around each call" if work else "")
    )


def subject(records: Records, row: _Row) -> str:
    """The workload, and what a user's programs are attached to."""
    meta = records.meta
    if "programs" not in meta:
        return str(meta["workload"])
    return f"{meta['workload']}, {meta['programs']} attached to {row['function']}"


def _columns(rows: Sequence[_Row]) -> tuple[Column, ...]:
    """The columns of a table, with the unit that suits its latencies in a heading."""
    _, unit = _time_unit(rows)
    return tuple(
        replace(column, heading=f"p50 {unit}") if column.field == "latency_p50_ns" else column
        for column in _COLUMNS
    )


def _time_unit(rows: Sequence[_Row]) -> tuple[float, str]:
    largest = max((row["latency_p99_99_ns"] or 0.0 for row in rows), default=0.0)
    return next((unit for unit in _TIME_UNITS if largest >= unit[0]), _TIME_UNITS[-1])


def _shown(rows: Sequence[_Row]) -> list[_Row]:
    """The rows with rates and times as a reader wants them."""
    scale, _ = _time_unit(rows)
    return [
        {
            **shortened(row),
            "calls_per_s": per_second(row["calls_per_s"]),
            "saturation_calls_per_s": per_second(row["saturation_calls_per_s"]),
            "added_percent_of_one_cpu": _share(row),
            **{
                name: _four_digits(value / scale)
                for name, value in row.items()
                if name.startswith("latency_") and value is not None
            },
        }
        for row in rows
    ]


def _share(row: _Row) -> str:
    """The added share, with its interval if it has one."""
    interval = row.get("added_percent_of_one_cpu_ci95")
    digits = 3 if row["added_percent_of_one_cpu"] < 10 else 2
    share = f"{row['added_percent_of_one_cpu']:.{digits}f}"
    return share if interval is None else f"{share}±{interval:.{digits}f}"


def _four_digits(value: float) -> str:
    """1.34, 23.45, 345.6, 4,567: aligned enough to compare, short enough for a column."""
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:,.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"


def per_second(rate: float) -> str:
    """A rate with four digits and an SI prefix: 199.5k, 2.998M."""
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= scale:
            return f"{rate / scale:.4g}{prefix}"
    return f"{rate:.4g}"


def _sentences(rows: Sequence[_Row]) -> list[str]:
    """One fsession against the pair, for each kind of body that has both."""
    found = []
    for kind, group in groupby(rows, body_kind):
        members = list(group)
        for row in members:
            if is_session(row):
                pairs = pairs_against(row, members)
                found += [_sentence(kind, _against(row, pair)) for pair in pairs]
    competing = [row["competing_percent"] for row in rows if "competing_percent" in row]
    if competing:
        low, high = min(competing), max(competing)
        share = f"{low:.1f} %" if high - low < 0.1 else f"{low:.1f} to {high:.1f} %"
        found.append(f"Tasks that make no calls took {share} of the CPUs' time.")
    found += [
        f"{row['scenario']} ({row['body']}) saturates the CPUs: its latencies grow with the "
        f"duration, {row['behind_s']:.3g} s at the end."
        for row in rows
        if row["saturated"] and row["behind_s"] > 0
    ]
    return found


def _sentence(kind: str, words: str) -> str:
    return f"{kind}: {words}." if kind else f"{words[0].upper()}{words[1:]}."


def _against(row: _Row, pair: _Row) -> str:
    same = row["body"] == pair["body"]
    names = (
        (row["scenario"], pair["scenario"])
        if same
        else (f"{row['scenario']} ({row['body']})", f"{pair['scenario']} ({pair['body']})")
    )
    start = f"one {names[0]} instead of {names[1]}"
    saved = pair["cycles_over_untraced"] - row["cycles_over_untraced"]
    if abs(saved) < 0.05:
        return f"{start} costs the same"
    verdict = f"{start} {'saves' if saved > 0 else 'costs'} {abs(saved):.1f} cycles per call"
    if row["saturated"] or pair["saturated"]:
        more = 100 * (row["calls_per_s"] / pair["calls_per_s"] - 1)
        return f"{verdict}, {abs(more):.2f} % {'more' if more > 0 else 'fewer'} calls per second"
    share = pair["added_percent_of_one_cpu"] - row["added_percent_of_one_cpu"]
    return f"{verdict}, {abs(share):.3f} % of one CPU at this rate"


def _closing(records: Records) -> list[str]:
    lines = [f"Basis: {records.meta['basis']}."]
    first = records.rows[0] if records.rows else None
    if first is not None:
        runs = first["runs"]
        lines.append(
            f"Simulated {records.meta['duration_s']:g} s per scenario, seed "
            f"{records.meta['seed']}"
            + (
                f", {runs} runs with the following seeds; ± is the 95 % interval."
                if runs != 1
                else "."
            )
        )
    return [*lines, *stated_sentences(records), *interrupted(records)]


def interrupted(records: Records) -> list[str]:
    """That the simulation was cut short, and where."""
    if records.meta.get("complete", True):
        return []
    if not records.rows:
        return ["INTERRUPTED: nothing was simulated."]
    last = records.rows[-1]
    row, done = f"{last['scenario']} {last['body']}", last["simulated_s"]
    return [f"INTERRUPTED: of the last row ({row}) {done:.3g} s was simulated."]
