"""Plots as SVG that takes its colours from the page around it.

Series have colours of Okabe and Ito's palette, told apart by the colour-blind, as CSS variables
(`--series-1` ...); text and axes have the page's text colour, so that one picture is readable
on light and dark ground. Text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tramposim.report.load import per_second

__all__ = ["PALETTE", "bars", "differences", "dots", "lines", "stacked_bars"]

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#f0e442")
_INK = "#123457"
_GRID = "#123458"

_WIDTH = 5.4
"""Inches: narrow enough that text stays readable on a phone."""


def _figure(width: float, height: float, salt: str) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = salt
    mpl.rcParams["font.family"] = "sans-serif"
    mpl.rcParams["font.size"] = 10
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_INK)
    axes.tick_params(colors=_INK, which="both")
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any, salt: str) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(_INK, "currentColor").replace(_GRID, "var(--grid)")
    for number, colour in enumerate(PALETTE, 1):
        svg = svg.replace(colour, f"var(--series-{number})")
    # Ids are unique in the page: several pictures stand in it.
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{salt}-", svg)
    svg = re.sub(r"font: ([^;\"]*?)(?:'[^\"]*?')+[^;\"]*", r"font: \1sans-serif", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1).strip()


def _label(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, color=_INK)
    axes.set_ylabel(y, color=_INK)


def _legend(legend: Any) -> None:
    for text in legend.get_texts():
        text.set_color(_INK)


def bars(
    names: Sequence[str], values: Sequence[float], unit: str, salt: str, groups: Sequence[int] = ()
) -> str:
    """Horizontal bars, the first on top, each with its value; `groups` choose colours."""
    figure, axes = _figure(_WIDTH, 0.9 + 0.34 * len(names), salt)
    colours = [PALETTE[(groups[i] if groups else 0) % len(PALETTE)] for i in range(len(names))]
    positions = list(range(len(names)))[::-1]
    axes.barh(positions, values, color=colours, height=0.7)
    axes.set_yticks(positions, names)
    axes.set_xlim(0, max([*values, 1]) * 1.13)
    axes.xaxis.grid(visible=True, color=_GRID)
    for position, value in zip(positions, values, strict=True):
        axes.text(value, position, f" {value:,.1f}", va="center", color=_INK)
    _label(axes, unit, "")
    return _svg(figure, salt)


def stacked_bars(
    names: Sequence[str], parts: Mapping[str, Sequence[float]], unit: str, salt: str
) -> str:
    """Horizontal bars cut into the same parts."""
    figure, axes = _figure(_WIDTH, 1.6 + 0.5 * len(names), salt)
    positions = list(range(len(names)))[::-1]
    left = [0.0] * len(names)
    for number, (part, values) in enumerate(parts.items()):
        hatch = "///" if number >= len(PALETTE) else None
        axes.barh(
            positions, values, left=left, height=0.7, label=part, hatch=hatch,
            color=PALETTE[number % len(PALETTE)], edgecolor=_INK, linewidth=0.4,
        )  # fmt: skip
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_yticks(positions, names)
    axes.xaxis.grid(visible=True, color=_GRID)
    _label(axes, unit, "")
    _legend(figure.legend(loc="outside lower center", frameon=False, ncols=2))
    return _svg(figure, salt)


_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x: str,
    y: str,
    salt: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    from_zero: bool = True,
    marked: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines over a common axis, with marks of their own.

    The y axis begins at 0 unless it is logarithmic or `from_zero` is off. `marked` draws
    vertical lines at values of x, each with its text.
    """
    figure, axes = _figure(_WIDTH, 3.5, salt)
    _draw(axes, series)
    if log_x:
        _logarithmic(axes, "x")
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if log_y:
        _logarithmic(axes, "y")
    elif from_zero:
        axes.set_ylim(bottom=0)
    for value, text in marked:
        axes.axvline(value, color=_INK, linestyle=":", linewidth=1.2)
        axes.annotate(text, (value, 1), xycoords=("data", "axes fraction"), color=_INK,
                      ha="center", va="bottom")  # fmt: skip
    axes.grid(visible=True, color=_GRID)
    _label(axes, x, y)
    _legend(figure.legend(loc="outside lower center", frameon=False, ncols=2))
    return _svg(figure, salt)


def differences(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x: str,
    y: str,
    salt: str,
    marked: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines above and below a strong zero line, both axes logarithmic but around zero.

    `marked` are places on the zero line, each with its text.
    """
    figure, axes = _figure(_WIDTH, 3.5, salt)
    _draw(axes, series)
    _logarithmic(axes, "x")
    axes.set_yscale("symlog", linthresh=10)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    values = [value for points in series.values() for _, value in points]
    axes.set_ylim(min(0.0, *values) * 1.5 - 2, max(0.0, *values) * 1.5 + 2)
    axes.axhline(0, color=_INK, linewidth=1.2)
    for value, text in marked:
        axes.plot([value], [0], marker="o", markersize=9, markerfacecolor="none",
                  markeredgecolor=_INK, linestyle="none")  # fmt: skip
        axes.annotate(text, (value, 0), xytext=(8, 8), textcoords="offset points", color=_INK)
    axes.grid(visible=True, color=_GRID)
    _label(axes, x, y)
    _legend(figure.legend(loc="outside lower center", frameon=False, ncols=2))
    return _svg(figure, salt)


def _logarithmic(axes: Any, name: str) -> None:
    """A logarithmic axis (x or y) whose ticks are numbers as people write them: 10, 1k, 100k."""
    from matplotlib.ticker import LogLocator, NullFormatter

    getattr(axes, f"set_{name}scale")("log")
    axis = getattr(axes, f"{name}axis")
    axis.set_major_formatter(lambda value, _: per_second(value))
    axis.set_minor_formatter(NullFormatter())
    if name == "y":
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))


def _draw(axes: Any, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    for number, (name, points) in enumerate(series.items()):
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            label=name,
            color=PALETTE[number % len(PALETTE)],
            marker=_MARKS[number % len(_MARKS)],
            markersize=5,
            linewidth=1.6,
        )


def dots(
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    unit: str,
    salt: str,
    marked: float,
) -> str:
    """A line of dots per name, the first on top; `marked` draws a vertical line.

    `series` gives the dots of each kind, one per name or None.
    """
    figure, axes = _figure(_WIDTH, 1.5 + 0.32 * len(names), salt)
    positions = list(range(len(names)))[::-1]
    for number, (kind, values) in enumerate(series.items()):
        shown = [(x, y) for x, y in zip(values, positions, strict=True) if x is not None]
        axes.plot(
            [x for x, _ in shown], [y for _, y in shown], label=kind, linestyle="none",
            color=PALETTE[number % len(PALETTE)], marker=_MARKS[number % len(_MARKS)],
        )  # fmt: skip
    axes.set_yticks(positions, names)
    axes.axvline(marked, color=_INK, linewidth=1.2)
    axes.grid(visible=True, color=_GRID)
    _label(axes, unit, "")
    _legend(figure.legend(loc="outside lower center", frameon=False, ncols=2))
    return _svg(figure, salt)
