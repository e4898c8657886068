"""Cost over the call rate: what each scenario adds at each rate, and where one begins to win."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.load import interrupted, per_second, subject
from tramposim.report.own import shortened, stated_sentences
from tramposim.report.pairs import body_kind, is_session, pairs_against
from tramposim.report.plots import differences, lines
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records

__all__ = [
    "Duel",
    "crossovers",
    "curve_machines",
    "curve_markdown",
    "curve_plots",
    "curve_table",
    "curve_text",
    "duels",
]

_Row = Mapping[str, Any]

LEGEND = (
    "Cells: core cycles per call that the scenario adds to the untraced call at this rate (calls "
    "per second of all CPUs); *: the CPUs are saturated."
)


def curve_text(records: Records, output: str = "-") -> str:
    """A table per machine, a row per rate, and the crossovers."""
    parts: list[Any] = []
    for title, rows in curve_machines(records):
        columns, table = curve_table(rows)
        parts += [TextTable(columns, table, title), *crossovers(rows), ""]
    return render(*parts, LEGEND, *_closing(records), output=output)


def curve_markdown(records: Records) -> str:
    """The same as Markdown."""
    blocks = []
    for title, rows in curve_machines(records):
        columns, table = curve_table(rows)
        heading, *rest = title.split("\n")
        blocks += [f"### {heading}\n", *rest, "", markdown_table(columns, table)]
        blocks += [sentence + "\n" for sentence in crossovers(rows)]
    return "\n".join([*blocks, LEGEND, "", *_closing(records)]) + "\n"


def _closing(records: Records) -> list[str]:
    basis = f"Basis: {records.meta['basis']}."
    return [basis, *stated_sentences(records), *interrupted(records)]


def curve_machines(records: Records) -> list[tuple[str, list[_Row]]]:
    """Title and rows of each architecture and core, in the order of the rows."""
    found = []
    for _, group in groupby(records.rows, lambda row: (row["arch"], row.get("core"))):
        rows: list[_Row] = list(group)
        first = rows[0]
        cpus = first["cpus"]
        title = (
            f"{subject(records, first)} on {first['arch']}, kernel {first.get('kernel')}, "
            f"{cpus} CPU{'s' if cpus > 1 else ''} at {first['clock_ghz']:g} GHz\n"
            f"core {first.get('core')} (model error: {first.get('core_error')})"
        )
        found.append((title, rows))
    return found


def _name(row: _Row) -> str:
    return f"{row['scenario']} {row['body']}"


def _heading(row: _Row) -> str:
    shown = shortened(row)
    return f"{shown['scenario']}\n{shown['body']}".replace(" + ", " +\n")


def curve_table(rows: Sequence[_Row]) -> tuple[list[Column], list[dict[str, object]]]:
    """Columns and lines of one machine's rows: a line per rate, a column per scenario."""
    traced = [row for row in rows if row["scenario"] != "untraced"]
    headings = {_name(row): _heading(row) for row in traced}
    columns = [
        Column("rate", "calls/s", text=True),
        *(Column(name, heading, text=True) for name, heading in headings.items()),
    ]
    by_rate: dict[float, dict[str, object]] = {}
    for row in traced:
        line = by_rate.setdefault(
            row["offered_calls_per_s"], {"rate": per_second(row["offered_calls_per_s"])}
        )
        line[_name(row)] = f"{row['cycles_over_untraced']:,.1f}" + ("*" if row["saturated"] else "")
    return columns, [by_rate[rate] for rate in sorted(by_rate)]


@dataclass(frozen=True, slots=True)
class Duel:
    """A session against a pair that it stands for, rate by rate, where no CPU is saturated.

    `saved`: (calls per second, cycles per call that the session saves over the pair).
    """

    session: str
    pair: str
    saved: tuple[tuple[float, float], ...]

    @property
    def crossing(self) -> float | None:
        """The rate at which the winner changes first, on a logarithmic axis; None if never."""
        for (low, before), (high, after) in pairwise(self.saved):
            if (before > 0) != (after > 0):
                share = before / (before - after)
                return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        return None

    @property
    def sentence(self) -> str:
        """Who wins, and from which rate."""
        (low, first), (high, last) = self.saved[0], self.saved[-1]
        if self.crossing is None:
            verdict = f"{'wins' if first > 0 else 'loses'} at every rate"
        else:
            side = "below" if first > 0 else "above"
            verdict = f"wins {side} about {per_second(self.crossing)} calls/s"
        return (
            f"{self.session} against {self.pair}: it {verdict}; it {_saves(first)} cycles per "
            f"call at {per_second(low)}/s and {_saves(last)} at {per_second(high)}/s."
        )


def _saves(cycles: float) -> str:
    return f"saves {cycles:.1f}" if cycles >= 0 else f"loses {-cycles:.1f}"


def duels(rows: Sequence[_Row]) -> list[Duel]:
    """Each session against every pair with the same kind of body, in the order of the rows."""
    found = []
    for kind in dict.fromkeys(map(body_kind, rows)):
        members = [row for row in rows if body_kind(row) == kind]
        sessions = {_name(row): row for row in members if is_session(row)}
        for session, row in sessions.items():
            costs = _costs(members, session)
            for name in dict.fromkeys(map(_name, pairs_against(row, members))):
                pair = _costs(members, name)
                saved = tuple((r, pair[r] - costs[r]) for r in sorted(pair.keys() & costs))
                if saved:
                    found.append(Duel(session, name, saved))
    return found


def crossovers(rows: Sequence[_Row]) -> list[str]:
    """For each session and the pair with the same kind of body: who wins, and from which rate."""
    return [duel.sentence for duel in duels(rows)]


def _costs(rows: Sequence[_Row], name: str) -> dict[float, float]:
    """Added cycles by rate, where the CPUs are not saturated."""
    return {
        row["offered_calls_per_s"]: row["cycles_over_untraced"]
        for row in rows
        if _name(row) == name and not row["saturated"]
    }


def curve_plots(rows: Sequence[_Row], salt: str) -> tuple[str, str]:
    """Two pictures (SVG) of one machine's rows: what each scenario adds over the rate, and what
    sessions save over their pairs, with the crossovers marked. `salt` keeps their ids apart.
    """
    traced = [row for row in rows if row["scenario"] != "untraced"]
    names = dict.fromkeys(map(_name, traced))
    costs = {name: list(_costs(traced, name).items()) for name in names}
    x = "calls per second" if rows[0]["cpus"] == 1 else "calls per second of all CPUs"
    fights = duels(rows)
    often = Counter(duel.session for duel in fights)
    saved = {
        f"{duel.session} against {duel.pair}"
        if often[duel.session] > 1
        else duel.session: duel.saved
        for duel in fights
    }
    crossings = [duel.crossing for duel in fights]
    return (
        lines(costs, x, "cycles per call over untraced", f"{salt}-cost", log_x=True, log_y=True),
        differences(
            saved,
            x,
            "cycles per call saved over the pair",
            f"{salt}-saved",
            [(rate, f"{per_second(rate)}/s") for rate in crossings if rate is not None],
        ),
    )
