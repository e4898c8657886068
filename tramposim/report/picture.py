"""Plots as a picture of its own: an SVG file that follows the reader's light or dark ground."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from tramposim.report.curve import crossovers, curve_machines, curve_plots
from tramposim.report.plots import PALETTE
from tramposim.study.records import Records

__all__ = ["curve_picture"]

_HEADING = 15
_LINE = 11
_MARGIN = 10
_WORDS = 74
"""Characters of a sentence per line: as many as the plots are wide."""

_STYLE = (
    ":root{color:#16161a;--ground:#ffffff;--grid:#dededa;SERIES}"
    "@media (prefers-color-scheme:dark){:root{color:#e8e8e4;--ground:#161618;--grid:#38383d;"
    "--series-1:#3f9fdc;--series-8:#d8cc3c}}"
    "text{fill:currentColor;font-family:sans-serif}"
).replace("SERIES", ";".join(f"--series-{n}:{colour}" for n, colour in enumerate(PALETTE, 1)))


def curve_picture(records: Records) -> str:
    """Cost over the call rate and what sessions save, with crossovers, for each machine."""
    parts: list[str] = []
    top, width = float(_MARGIN), 0.0
    for number, (title, rows) in enumerate(curve_machines(records)):
        heading, *rest = title.split("\n")
        top += _HEADING + 2
        parts.append(_text(heading, top, _HEADING - 2, "bold"))
        for line in (line for text in rest for line in _wrapped(text)):
            top += _LINE + 2
            parts.append(_text(line, top, _LINE - 2))
        for svg in curve_plots(rows, f"curve-{number}"):
            top += _MARGIN
            nested, size = _nested(svg, top)
            parts.append(nested)
            width, top = max(width, size[0]), top + size[1]
        for line in (line for sentence in crossovers(rows) for line in _wrapped(sentence)):
            top += _LINE + 2
            parts.append(_text(line, top, _LINE - 2))
        top += 2 * _MARGIN
    body = "\n".join(parts)
    title = escape(f"{records.meta['workload']}: cost of tracing over the call rate")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'role="img" viewBox="0 0 {width + 2 * _MARGIN:g} {top:g}">\n<title>{title}</title>\n'
        f'<style>{_STYLE}</style>\n<rect width="100%" height="100%" style="fill:var(--ground)"/>\n'
        f"{body}\n</svg>\n"
    )


def _nested(svg: str, top: float) -> tuple[str, tuple[float, float]]:
    """A plot put at a height of a picture, and its size."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    width, height = float(box[1]), float(box[2])
    place = f'<svg x="{_MARGIN}" y="{top:g}" width="{width:g}" height="{height:g}" '
    return svg.replace("<svg ", place, 1), (width, height)


def _text(text: str, top: float, size: int, weight: str = "normal") -> str:
    style = f"font-size:{size}px;font-weight:{weight}"
    return f'<text x="{_MARGIN}" y="{top:g}" style="{style}">{escape(text)}</text>'


def _wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.replace(" %", "\N{NO-BREAK SPACE}%").split(" "):
        if line and len(line) + 1 + len(word) > _WORDS:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    if line:
        yield line
