"""Pieces of a self-contained HTML page: its style, figures, tables, and paragraphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from tramposim.report.columns import Column, format_value
from tramposim.report.plots import PALETTE

__all__ = ["all_numbers", "document", "figure", "note", "paragraphs", "table"]

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
h3 { font-size: 1rem; margin: 1.4rem 0 0 }
.answer { border-left: 4px solid var(--strong); padding: .2rem 1rem; font-size: 1.1rem;
  background: var(--soft) }
.answer .note { margin: .4rem 0 .8rem }
figure { margin: 1rem 0 } figcaption { font-size: .9rem; max-width: 46rem }
svg { display: block; width: 100%; height: auto; max-width: 38rem }
.scroll { overflow-x: auto; max-height: 40rem } table { border-collapse: collapse;
  font-size: .88rem }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; vertical-align: bottom }
th { position: sticky; top: 0; background: var(--ground); white-space: pre-line }
.text { text-align: left } .strong td { font-weight: 600 }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem }
pre { background: var(--soft); padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere }
details { margin: .6rem 0 } summary { cursor: pointer }
.note { font-size: .88rem; max-width: 50rem } ul.note { padding-left: 1.2rem }
"""


def document(title: str, body: Iterable[str]) -> str:
    """The whole page: it needs nothing from any network and holds no script."""
    series = " ".join(f"--series-{n}: {colour};" for n, colour in enumerate(PALETTE, 1))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE.replace('SERIES', series)}</style>\n"
        "</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def figure(svg: str, alt: str, caption: str) -> str:
    """A picture with what it shows in words, and its caption."""
    return (
        f'<figure><div class="picture" role="img" aria-label="{escape(alt)}">{svg}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def table(columns: Sequence[Column], rows: Iterable[Row], strong: str = "") -> str:
    """A table that scrolls on its own; rows whose scenario begins with `strong` are bold."""
    heads = "".join(_cell("th", column, column.heading) for column in columns)
    lines = []
    for row in rows:
        bold = strong and str(row.get("scenario", "")).startswith(strong)
        mark = ' class="strong"' if bold else ""
        cells = "".join(_cell("td", column, format_value(column, row)) for column in columns)
        lines.append(f"<tr{mark}>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(tag: str, column: Column, text: str) -> str:
    kind = ' class="text"' if column.text else ""
    scope = ' scope="col"' if tag == "th" else ""
    return f"<{tag}{scope}{kind}>{escape(text)}</{tag}>"


def all_numbers(content: str) -> str:
    """What a picture shows, in full, folded away."""
    return f"<details><summary>All numbers</summary>{content}</details>"


def note(text: str) -> str:
    """A paragraph of small print."""
    return f'<p class="note">{escape(text)}</p>'


def paragraphs(texts: Iterable[str]) -> str:
    """A list of sentences that stand for themselves; nothing if there are none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="note">{items}</ul>' if items else ""
