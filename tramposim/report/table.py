"""Plain text tables for a terminal or a file."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from tramposim.report.columns import Column, format_value

__all__ = ["render", "text_table"]

_PLAIN_WIDTH = 118


def text_table(
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, object]],
    title: str,
    *,
    section_of: Callable[[Mapping[str, object]], object] = lambda row: None,
    strong: Callable[[Mapping[str, object]], bool] = lambda row: False,
) -> Table:
    """A table with a rule where `section_of` changes; `strong` rows are emphasised."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    for column in columns:
        table.add_column(
            column.heading,
            justify="left" if column.text else "right",
            no_wrap=True,
            header_style="bold",
        )
    for index, row in enumerate(rows):
        last = index + 1 == len(rows)
        table.add_row(
            *(format_value(column, row) for column in columns),
            style="bold" if strong(row) else None,
            end_section=not last and section_of(row) != section_of(rows[index + 1]),
        )
    return table


def render(*parts: RenderableType, output: str = "-") -> str:
    """The parts as text: in colour only on a terminal, and never when NO_COLOR is set."""
    terminal = output == "-" and sys.stdout.isatty()
    text = io.StringIO()
    console = Console(
        file=text,
        force_terminal=terminal,
        no_color=not terminal or bool(os.environ.get("NO_COLOR")),
        color_system="standard" if terminal else None,
        width=None if terminal else _PLAIN_WIDTH,
        highlight=False,
        soft_wrap=False,
    )
    for part in parts:
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    return "\n".join(lines) + "\n"
