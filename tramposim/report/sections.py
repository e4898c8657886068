"""What each command's records look like on the HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import groupby

from tramposim.report.columns import Column
from tramposim.report.compare import COLUMNS, LEGEND
from tramposim.report.curve import crossovers, curve_machines, curve_plots, curve_table
from tramposim.report.html import all_numbers, figure, note, paragraphs, table
from tramposim.report.kinds import all_columns, kind_of
from tramposim.report.load import per_second
from tramposim.report.plots import bars, dots, lines, stacked_bars
from tramposim.report.sweep import FIELDS, sweep_sentences, sweep_table
from tramposim.study.records import Records
from tramposim.study.scenario import parse_scenario

__all__ = ["Row", "by_machine", "number", "section_of"]

Row = Mapping[str, object]


def section_of(records: Records, salt: str) -> list[str]:
    """The section of one record; `salt` keeps the ids of its pictures apart from others'."""
    return _renderer(records)(records, salt) if records.rows else []


def _renderer(records: Records) -> Callable[[Records, str], list[str]]:
    kind = kind_of(records)
    if kind == "sweep" and len(_counts(records)) > 1:
        return _programs
    return _RENDERERS.get(kind, _anything)


def number(row: Row, field: str) -> float:
    """A field that is a number."""
    return float(str(row[field]))


def by_machine(records: Records) -> list[tuple[str, list[Row]]]:
    """Rows by architecture and core, with a heading."""
    found = []
    for (arch, core), rows in groupby(records.rows, lambda row: (row.get("arch"), row["core"])):
        found.append((f"{arch} ({core})", list[Row](rows)))
    return found


def _in_words(series: Mapping[str, Sequence[tuple[float, float]]], unit: str) -> str:
    """The points of lines, for those who cannot see them."""
    return "; ".join(
        f"{name}: " + ", ".join(f"{y:,.1f}{unit} at {per_second(x)}" for x, y in points)
        for name, points in series.items()
    )


def _comparison(records: Records, salt: str) -> list[str]:
    parts = ["<h2>What a call costs</h2>"]
    kinds: dict[str, int] = {}
    for place, (heading, rows) in enumerate(by_machine(records)):
        shown = [row for row in rows if row["scenario"] != "untraced" or row["body"] == "empty"]
        names = [f"{row['scenario']} · {row['body']}" for row in shown]
        groups = [kinds.setdefault(str(row["body"]).split("-")[0], len(kinds)) for row in shown]
        values = [number(row, "cycles_per_call") for row in shown]
        state = records.meta.get("state", "hot")
        svg = bars(names, values, f"core cycles per call, {state}", f"{salt}-{place}", groups)
        alt = f"Cycles per call on {heading}: " + ", ".join(
            f"{name} {value:.1f}" for name, value in zip(names, values, strict=True)
        )
        first = shown[0]
        caption = (
            f"{records.meta['function']} on {heading}, kernel {first['kernel']}, "
            f"{first['returns']} returns. Colours: what the programs do."
        )
        parts += [f"<h3>{escape(heading)}</h3>", figure(svg, alt, caption)]
        columns = [column for column in COLUMNS if any(column.field in row for row in shown)]
        parts.append(all_numbers(table(columns, shown, "fsession") + note(LEGEND)))
    return parts


def _parts(records: Records, salt: str) -> list[str]:
    """Cycles by part of the call, one bar per scenario."""
    parts = ["<h2>Where the cycles go</h2>"]
    for place, (heading, rows) in enumerate(by_machine(records)):
        scenarios = [
            (f"{words} · {body}", list[Row](group))
            for (words, body), group in groupby(rows, lambda row: (row["scenario"], row["body"]))
        ]
        names = [name for name, _ in scenarios]
        kinds: dict[str, list[float]] = {}
        for index, (_, found) in enumerate(scenarios):
            for row in found:
                if row["what"] == "part":
                    cycles = kinds.setdefault(_kind(str(row["part"])), [0.0] * len(names))
                    cycles[index] += number(row, "cycles_per_call")
        state = records.meta.get("state", "hot")
        svg = stacked_bars(names, kinds, f"core cycles per call, {state}", f"{salt}-{place}")
        alt = f"Cycles by part on {heading}. " + "; ".join(
            f"{name}: " + ", ".join(f"{kind} {values[i]:.1f}" for kind, values in kinds.items())
            for i, name in enumerate(names)
        )
        caption = (
            f"{heading}: cycles of the critical path in each part's instructions and in what they "
            "call; the parts sum to the call."
        )
        parts += [f"<h3>{escape(heading)}</h3>", figure(svg, alt, caption)]
        columns = (Column("scenario", "scenario", text=True),
                   *(Column(kind, kind) for kind in kinds))  # fmt: skip
        cells = [
            {"scenario": name, **{kind: values[i] for kind, values in kinds.items()}}
            for i, name in enumerate(names)
        ]
        parts.append(all_numbers(table(columns, cells)))
    return parts


def _kind(part: str) -> str:
    """Which of the bar's pieces a part belongs to."""
    word = part.split(" ")[0]
    if word in ("enter", "body", "exit"):
        return {"enter": "enter programs", "body": "program bodies", "exit": "exit programs"}[word]
    if part in ("tramp_enter", "tramp_exit"):
        return "tramp_enter, tramp_exit"
    if part in ("call original", "calling loop", "function entry"):
        return "call and function"
    return "rest of the image"


def _cores(records: Records, salt: str) -> list[str]:
    """A sweep over machines: each session relative to its pair, and the whole table."""
    machines = {
        name: list(rows)
        for name, rows in groupby(records.rows, lambda row: _machine(row, records.meta["axes"]))
    }
    sessions = dict.fromkeys(
        f"{row['scenario']} · {row['body']}" for row in records.rows if _against_pair(row)
    )
    series = {
        name: [
            next((number(r, "over_pair_ratio") for r in rows
                  if _against_pair(r) and f"{r['scenario']} · {r['body']}" == name), None)
            for rows in machines.values()
        ]
        for name in sessions
    }  # fmt: skip
    parts = ["<h2>On every core</h2>" if "core" in records.meta["axes"] else "<h2>A sweep</h2>"]
    if series:
        unit = "cycles added, as a multiple of fentry+fexit's"
        alt = f"{unit}. " + "; ".join(
            f"{name}: " + ", ".join(
                f"{machine} {value:.2f}" for machine, value in zip(machines, values, strict=True)
                if value is not None
            )
            for name, values in series.items()
        )  # fmt: skip
        svg = dots(list(machines), series, unit, salt, marked=1.0)
        caption = "Left of the line one session costs less than the pair that it stands for."
        parts += [figure(svg, alt, caption), paragraphs(sweep_sentences(records))]
    columns, rows = sweep_table(records, "cycles_over_untraced")
    cells = note(f"Cells: {FIELDS['cycles_over_untraced']}. {records.meta['basis']}.")
    return [*parts, all_numbers(table(columns, rows) + cells)]


def _against_pair(row: Row) -> bool:
    return str(row["scenario"]).startswith("fsession") and "over_pair_ratio" in row


def _machine(row: Row, axes: Mapping[str, Sequence[str]]) -> str:
    names = [name for name in axes if not (name == "arch" and "core" in axes)]
    return " ".join(str(row[name]) for name in names if row.get(name) is not None) or str(
        row["core"]
    )


def _counts(records: Records) -> set[int]:
    """How many pairs or sessions the rows of a sweep attach, where they attach only such."""
    return {many[1] for row in records.rows if (many := _attached(str(row["scenario"])))}


def _attached(scenario: str) -> tuple[str, int] | None:
    """(what, how many) of a scenario of equal pairs or of equal sessions."""
    return parse_scenario(scenario).pairing


def _programs(records: Records, salt: str) -> list[str]:
    """N pairs or sessions on one function: what each of them adds."""
    parts = ["<h2>With N programs on one function</h2>"]
    for place, (heading, rows) in enumerate(by_machine(records)):
        total: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            attached = _attached(str(row["scenario"]))
            if attached is not None and "cycles_over_untraced" in row:
                point = float(attached[1]), number(row, "cycles_over_untraced")
                total.setdefault(attached[0], []).append(point)
        single = {name: [(n, over / n) for n, over in points] for name, points in total.items()}
        svg = lines(single, "pairs or sessions attached", "cycles that each of them adds",
                    f"{salt}-{place}", from_zero=False)  # fmt: skip
        alt = f"Cycles that each pair or session adds on {heading}. {_in_words(single, '')}"
        caption = (
            f"{heading}: N pairs of fentry and fexit programs against N sessions, empty programs, "
            "hot; the axis of cycles does not begin at 0. A line that ends early reached the "
            "kernel's limit of programs."
        )
        parts += [f"<h3>{escape(heading)}</h3>", figure(svg, alt, caption)]
        columns = [Column("n", "N", decimals=0), *(Column(name, name) for name in total)]
        cells = _by_x(total, "n")
        legend = note("Core cycles per call that all of them add to the untraced call.")
        parts.append(all_numbers(table(columns, cells) + legend))
    return parts


def _by_x(series: Mapping[str, Sequence[tuple[float, float]]], x: str) -> list[dict[str, object]]:
    """Lines as a table: a row per x, a column per line."""
    found: dict[float, dict[str, object]] = {}
    for name, points in series.items():
        for at, value in points:
            found.setdefault(at, {x: int(at)})[name] = value
    return [found[at] for at in sorted(found)]


def _functions(records: Records, salt: str) -> list[str]:
    """The same calls spread over N traced functions."""
    parts = ["<h2>With N functions traced</h2>"]
    for place, (heading, rows) in enumerate(by_machine(records)):
        series: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row["scenario"] != "untraced":
                point = number(row, "functions"), number(row, "cycles_over_untraced")
                series.setdefault(f"{row['scenario']} · {row['body']}", []).append(point)
        svg = lines(series, "functions traced", "cycles per call over untraced",
                    f"{salt}-{place}", log_x=True)  # fmt: skip
        alt = f"Cycles per call over untraced on {heading}. {_in_words(series, '')} functions"
        rate = number(rows[0], "offered_calls_per_s")
        caption = (
            f"{heading}: {records.meta['workload']} with {per_second(rate)} calls/s in all, spread "
            "over N functions by Zipf's law, each with an image of its own: the rarer a function "
            "is called, the more of it has left the caches."
        )
        parts += [f"<h3>{escape(heading)}</h3>", figure(svg, alt, caption)]
        columns = [Column("n", "functions", decimals=0), *(Column(name, name) for name in series)]
        parts.append(all_numbers(table(columns, _by_x(series, "n"))))
    return [*parts, note(f"{records.meta['basis']}.")]


def _curve(records: Records, salt: str) -> list[str]:
    """Cost over the call rate, and from which rate a session wins."""
    parts = ["<h2>Over the call rate</h2>"]
    for place, (_, rows) in enumerate(curve_machines(records)):
        heading = f"{rows[0]['arch']} ({rows[0]['core']})"
        cost, saved = curve_plots(rows, f"{salt}-{place}")
        sentences = crossovers(rows)
        columns, cells = curve_table(rows)
        alt = f"Cycles per call over untraced on {heading}, by calls per second: " + "; ".join(
            f"{line['rate']}: "
            + ", ".join(str(line[c.field]) for c in columns[1:] if c.field in line)
            for line in cells
        )  # fmt: skip
        caption = (
            f"{heading}: {records.meta['workload']}, CPUs: {rows[0]['cpus']}, up to saturation. "
            "Rare calls find less of what they need in the caches."
        )
        parts += [f"<h3>{escape(heading)}</h3>", figure(cost, alt, caption)]
        caption = (
            f"{heading}: what a session saves over its pair, above the line of zero; rings mark "
            "the rates at which the winner changes. The scale is logarithmic beyond ±10."
        )
        parts += [figure(saved, " ".join(sentences), caption), paragraphs(sentences)]
        legend = note(f"*: the CPUs are saturated. {records.meta['basis']}.")
        parts.append(all_numbers(table(columns, cells) + legend))
    return parts


def _accuracy(records: Records, salt: str) -> list[str]:
    """Errors of the core models that were compared with hardware, and the names of the others."""
    compared = [
        row for row in records.rows if "mean_error_percent" in row and row["data"] != "published"
    ]
    names = dict.fromkeys(str(row["core"]) for row in compared)
    without = dict.fromkeys(str(row["core"]) for row in records.rows if row["core"] not in names)
    parts = ["<h2>How good the core models are</h2>"]
    if compared:
        what = [f"{row['core']} · {row.get('what', row['data'])}" for row in compared]
        values = [number(row, "mean_error_percent") for row in compared]
        svg = bars(what, values, "mean error against hardware, %", salt)
        alt = "Mean error in percent: " + ", ".join(
            f"{name} {value:.1f}" for name, value in zip(what, values, strict=True)
        )
        parts.append(figure(svg, alt, f"{records.meta['basis']}."))
        fields = {name: None for row in compared for name in row if name not in ("worst", "note")}
        columns = [
            Column(name, name.replace("_percent", " %").replace("_", " "),
                   text=isinstance(compared[0].get(name), str))
            for name in fields
        ]  # fmt: skip
        parts.append(all_numbers(table(columns, compared)))
    if without:
        parts.append(
            note(
                f"{', '.join(without)}: uncalibrated, made from published latencies, widths and "
                "sizes and never compared with hardware: trust their ratios more than their cycles."
            )
        )
    return parts


def _anything(records: Records, salt: str) -> list[str]:
    """Any other record, as it is."""
    columns = all_columns(records)
    words = [str(records.meta.get(name, "")) for name in ("command", "function")]
    heading = " ".join(word for word in words if word) or "Records"
    basis = records.meta.get("basis")
    parts = [f"<h2>{escape(heading)}</h2>", table(columns, records.rows)]
    return [*parts, note(f"{basis}.")] if basis else parts


_RENDERERS: Mapping[str, Callable[[Records, str], list[str]]] = {
    "compare": _comparison,
    "explain": _parts,
    "sweep": _cores,
    "functions": _functions,
    "curve": _curve,
    "accuracy": _accuracy,
    "cores --accuracy": _accuracy,
}
