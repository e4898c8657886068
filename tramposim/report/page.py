"""One self-contained HTML page from records: the answer, bars, parts, scaling, accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby

from tramposim.report.columns import Column, format_value
from tramposim.report.compare import COLUMNS, LEGEND, break_even_sentences
from tramposim.report.plots import PALETTE, bars, lines, stacked_bars
from tramposim.study.overview import Section
from tramposim.study.records import Records

__all__ = ["html_page"]

Row = Mapping[str, object]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --ground: #ffffff; --soft: #f3f3f0;
  --line: #c9c9c4; --grid: #dededa; --strong: #0b4f7d; SERIES }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e4; --ground: #161618; --soft: #222225;
  --line: #4a4a50; --grid: #38383d; --strong: #8cc8f0; --series-1: #3f9fdc; --series-8: #d8cc3c } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; line-height: 1.25 } h2 { font-size: 1.2rem; margin-top: 2.2rem }
.answer { border-left: 4px solid var(--strong); padding: .2rem 1rem; font-size: 1.1rem;
  background: var(--soft) }
figure { margin: 1rem 0 } figcaption { font-size: .9rem }
svg { display: block; width: 100%; height: auto; max-width: 46rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .88rem }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums }
th { position: sticky; top: 0; background: var(--ground) }
.text { text-align: left } .strong td { font-weight: 600 }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem }
pre { background: var(--soft); padding: .6rem; overflow-x: auto }
details { margin: .6rem 0 } summary { cursor: pointer }
.note { font-size: .85rem }
"""


def html_page(sections: Sequence[Section], title: str) -> str:
    """The page: sections for the records that are there, the answer first.

    It needs nothing from any network and holds no script.
    """
    by_command = {str(section.records.meta["command"]): section.records for section in sections}
    body: list[str] = [f"<h1>{escape(title)}</h1>"]
    if "compare" in by_command:
        body += _answer(by_command["compare"])
        body += _comparison(by_command["compare"])
    if "explain" in by_command:
        body += _parts(by_command["explain"])
    if "scaling" in by_command:
        body += _scaling(by_command["scaling"])
    if "cores" in by_command:
        body += _accuracy(by_command["cores"])
    body += _origin(sections)
    series = " ".join(f"--series-{n}: {colour};" for n, colour in enumerate(PALETTE, 1))
    style = _STYLE.replace("SERIES", series)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _number(row: Row, field: str) -> float:
    return float(str(row[field]))


def _figure(svg: str, alt: str, caption: str) -> str:
    return (
        f'<figure><div role="img" aria-label="{escape(alt)}">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _table(columns: Sequence[Column], rows: Iterable[Row], strong: str = "") -> str:
    heads = "".join(_cell("th", column, column.heading) for column in columns)
    lines_ = []
    for row in rows:
        mark = (
            ' class="strong"' if strong and str(row.get("scenario", "")).startswith(strong) else ""
        )
        cells = "".join(_cell("td", column, format_value(column, row)) for column in columns)
        lines_.append(f"<tr{mark}>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines_)}</tbody></table></div>"
    )


def _cell(tag: str, column: Column, text: str) -> str:
    kind = ' class="text"' if column.text else ""
    scope = ' scope="col"' if tag == "th" else ""
    return f"<{tag}{scope}{kind}>{escape(text)}</{tag}>"


def _groups(records: Records) -> list[tuple[str, list[Row]]]:
    """Rows by architecture and core, with a heading."""
    found = []
    for (arch, core), rows in groupby(records.rows, lambda row: (row["arch"], row["core"])):
        found.append((f"{arch} ({core})", list[Row](rows)))
    return found


def _answer(records: Records) -> list[str]:
    """The question's answer in a sentence per architecture, with its numbers."""
    texts = []
    for heading, rows in _groups(records):
        by_key = {(row["scenario"], row["body"]): row for row in rows}
        pair, session = by_key.get(("fentry+fexit", "empty")), by_key.get(("fsession", "empty"))
        if pair is None or session is None:
            continue
        two, one = (_number(row, "cycles_over_untraced") for row in (pair, session))
        texts.append(
            f"<p>On {escape(heading)} one fsession program adds <b>{one:.1f} cycles</b> to a hot "
            f"call where an fentry and an fexit program add <b>{two:.1f}</b> "
            f"({one / two:.2f} times as much).</p>"
        )
    texts += [f"<p>{escape(sentence)}</p>" for sentence in break_even_sentences(records)]
    return ['<div class="answer">', *texts, "</div>"]


def _comparison(records: Records) -> list[str]:
    parts = ["<h2>What a call costs</h2>"]
    kinds: dict[str, int] = {}
    for number, (heading, rows) in enumerate(_groups(records)):
        shown = [row for row in rows if row["scenario"] != "untraced" or row["body"] == "empty"]
        names = [f"{row['scenario']} · {row['body']}" for row in shown]
        groups = [kinds.setdefault(str(row["body"]).split("-")[0], len(kinds)) for row in shown]
        values = [_number(row, "cycles_per_call") for row in shown]
        svg = bars(names, values, "core cycles per call, hot", f"compare{number}", groups)
        alt = f"Cycles per call on {heading}: " + ", ".join(
            f"{name} {value:.1f}" for name, value in zip(names, values, strict=True)
        )
        first = shown[0]
        caption = (
            f"{records.meta['function']} on {heading}, kernel {first['kernel']}, "
            f"{first['returns']} returns; model error: {first['core_error']}"
        )
        parts += [f"<h3>{escape(heading)}</h3>", _figure(svg, alt, caption)]
        parts.append(
            "<details><summary>All numbers</summary>"
            f'{_table(COLUMNS, shown, "fsession")}<p class="note">{escape(LEGEND)}</p></details>'
        )
    return parts


def _parts(records: Records) -> list[str]:
    """Cycles by part of the call, one bar per scenario."""
    parts = ["<h2>Where the cycles go</h2>"]
    for number, (heading, rows) in enumerate(_groups(records)):
        scenarios = [
            (f"{words} · {body}", list[Row](group))
            for (words, body), group in groupby(rows, lambda row: (row["scenario"], row["body"]))
        ]
        names = [name for name, _ in scenarios]
        kinds: dict[str, list[float]] = {}
        for index, (_, found) in enumerate(scenarios):
            for row in found:
                if row["what"] == "part":
                    kind = _kind(str(row["part"]))
                    cycles = kinds.setdefault(kind, [0.0] * len(names))
                    cycles[index] += _number(row, "cycles_per_call")
        svg = stacked_bars(names, kinds, "core cycles per call, hot", f"parts{number}")
        alt = f"Cycles by part on {heading}. " + "; ".join(
            f"{name}: " + ", ".join(f"{kind} {values[i]:.1f}" for kind, values in kinds.items())
            for i, name in enumerate(names)
        )
        caption = (
            f"{heading}: cycles that retirement waited for each part's instructions and for what "
            "they call; the parts sum to the call."
        )
        parts.append(_figure(svg, alt, caption))
        columns = (Column("scenario", "scenario", text=True),
                   *(Column(kind, kind) for kind in kinds))  # fmt: skip
        table = [
            {"scenario": name, **{kind: values[i] for kind, values in kinds.items()}}
            for i, name in enumerate(names)
        ]
        parts.append(f"<details><summary>All numbers</summary>{_table(columns, table)}</details>")
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


def _scaling(records: Records) -> list[str]:
    parts = ["<h2>With N programs on one function</h2>"]
    for number, (heading, rows) in enumerate(_groups(records)):
        series: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            point = _number(row, "count"), _number(row, "cycles_over_untraced")
            series.setdefault(str(row["kind"]), []).append(point)
        svg = lines(series, "pairs or sessions attached", "cycles over the untraced call",
                    f"scaling{number}")  # fmt: skip
        alt = f"Cycles over the untraced call on {heading}. " + "; ".join(
            f"{name}: " + ", ".join(f"{x:.0f}: {y:.0f}" for x, y in points)
            for name, points in series.items()
        )
        caption = (
            f"{heading}: N pairs of fentry and fexit programs against N sessions, empty programs, "
            "hot. A line that ends early reached the kernel's limit of programs."
        )
        parts.append(_figure(svg, alt, caption))
    return parts


def _accuracy(records: Records) -> list[str]:
    columns = (
        Column("core", "core", text=True),
        Column("arch", "architecture", text=True),
        Column("what", "what", text=True),
        Column("mean_error_percent", "mean error %"),
        Column("rows", "rows"),
        Column("data", "data", text=True),
    )
    return [
        "<h2>How good the core models are</h2>",
        _table(columns, records.rows),
        f'<p class="note">{escape(str(records.meta["basis"]))}; "uncalibrated": never compared '
        "with hardware.</p>",
    ]


def _origin(sections: Sequence[Section]) -> list[str]:
    commands = [section.command for section in sections if section.command]
    version = next((str(s.records.meta.get("version")) for s in sections), "")
    return [
        "<h2>How this was made</h2>",
        f"<p>tramposim {escape(version)}. The same version prints the same numbers by:</p>",
        f"<pre>{escape(chr(10).join(commands))}</pre>",
        "<p class=\"note\">Machine code is what the kernels' JITs emit; cycles are a core model's, "
        "everything hot: caches, TLBs and predictors as after calls back to back.</p>",
    ]
