"""Cost over the call rate: what each scenario adds at each rate, and where one begins to win."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.load import pairs_against, per_second
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records

__all__ = ["crossovers", "curve_markdown", "curve_text"]

_Row = Mapping[str, Any]

LEGEND = (
    "Cells: core cycles per call that the scenario adds to the untraced call at this rate (calls "
    "per second of all CPUs); *: the CPUs are saturated."
)


def curve_text(records: Records, output: str = "-") -> str:
    """A table per machine, a row per rate, and the crossovers."""
    parts: list[Any] = []
    for title, rows in _machines(records):
        columns, table = _table(rows)
        parts += [TextTable(columns, table, title), *crossovers(rows), ""]
    return render(*parts, LEGEND, f"Basis: {records.meta['basis']}.", output=output)


def curve_markdown(records: Records) -> str:
    """The same as Markdown."""
    blocks = []
    for title, rows in _machines(records):
        columns, table = _table(rows)
        heading, *rest = title.split("\n")
        blocks += [f"### {heading}\n", *rest, "", markdown_table(columns, table)]
        blocks += [sentence + "\n" for sentence in crossovers(rows)]
    return "\n".join([*blocks, LEGEND, "", f"Basis: {records.meta['basis']}."]) + "\n"


def _machines(records: Records) -> list[tuple[str, list[_Row]]]:
    found = []
    for _, group in groupby(records.rows, lambda row: (row["arch"], row.get("core"))):
        rows: list[_Row] = list(group)
        first = rows[0]
        cpus = first["cpus"]
        title = (
            f"{records.meta['workload']} on {first['arch']}, kernel {first.get('kernel')}, "
            f"{cpus} CPU{'s' if cpus > 1 else ''} at {first['clock_ghz']:g} GHz\n"
            f"core {first.get('core')} (model error: {first.get('core_error')})"
        )
        found.append((title, rows))
    return found


def _name(row: _Row) -> str:
    return f"{row['scenario']} {row['body']}"


def _table(rows: Sequence[_Row]) -> tuple[list[Column], list[dict[str, object]]]:
    traced = [row for row in rows if row["scenario"] != "untraced"]
    names = list(dict.fromkeys(map(_name, traced)))
    columns = [
        Column("rate", "calls/s", text=True),
        *(Column(name, name, text=True) for name in names),
    ]
    by_rate: dict[float, dict[str, object]] = {}
    for row in traced:
        line = by_rate.setdefault(
            row["offered_calls_per_s"], {"rate": per_second(row["offered_calls_per_s"])}
        )
        line[_name(row)] = f"{row['cycles_over_untraced']:,.1f}" + ("*" if row["saturated"] else "")
    return columns, [by_rate[rate] for rate in sorted(by_rate)]


def crossovers(rows: Sequence[_Row]) -> list[str]:
    """For each session and the pair with the same kind of body: who wins, and from which rate."""
    found = []
    kinds = dict.fromkeys(str(row["body"]).split("-")[0] for row in rows)
    for kind in kinds:
        members = [row for row in rows if str(row["body"]).split("-")[0] == kind]
        sessions = dict.fromkeys(
            (row["scenario"], row["body"])
            for row in members
            if str(row["scenario"]).startswith("fsession")
        )
        for scenario, body in sessions:
            costs = _costs(members, scenario, body)
            for own in dict.fromkeys(row["body"] for row in pairs_against(body, members)):
                pair = _costs(members, "fentry+fexit", own)
                saved = [(rate, pair[rate] - costs[rate]) for rate in sorted(pair.keys() & costs)]
                if saved:
                    found.append(_sentence(f"{scenario} {body}", own, saved))
    return found


def _costs(rows: Sequence[_Row], scenario: str, body: str) -> dict[float, float]:
    """Added cycles by rate, where the CPUs are not saturated."""
    return {
        row["offered_calls_per_s"]: row["cycles_over_untraced"]
        for row in rows
        if (row["scenario"], row["body"]) == (scenario, body) and not row["saturated"]
    }


def _sentence(session: str, body: str, saved: Sequence[tuple[float, float]]) -> str:
    start = f"{session} against the pair{'' if session.endswith(f' {body}') else f' {body}'}:"
    for (low, before), (high, after) in pairwise(saved):
        if (before > 0) != (after > 0):
            share = before / (before - after)
            rate = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
            verb = "below" if before > 0 else "above"
            return (
                f"{start} it wins {verb} about {per_second(rate)} calls/s; it saves "
                f"{saved[0][1]:.1f} cycles per call at {per_second(saved[0][0])}/s and "
                f"{saved[-1][1]:.1f} at {per_second(saved[-1][0])}/s."
            )
    verdict = "wins" if saved[0][1] > 0 else "loses"
    return (
        f"{start} it {verdict} at every rate; it saves {saved[0][1]:.1f} cycles per call at "
        f"{per_second(saved[0][0])}/s and {saved[-1][1]:.1f} at {per_second(saved[-1][0])}/s."
    )
