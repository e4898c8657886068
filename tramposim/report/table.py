"""Plain text tables for a terminal or a file."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from tramposim.report.columns import Column, format_value

__all__ = ["TextTable", "render"]

_PLAIN_WIDTH = 120
_GAP = 2
"""Characters between two columns, and around all of them."""


@dataclass(frozen=True)
class TextTable:
    """Rows under headed columns, with a rule where `section_of` changes.

    `strong` rows are emphasised. Columns that do not fit the width are left out from the
    right, and a line says which: a cut number would be a wrong one.
    """

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, object]]
    title: str
    section_of: Callable[[Mapping[str, object]], object] = lambda row: None
    strong: Callable[[Mapping[str, object]], bool] = lambda row: False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Protocol of rich: what to print."""
        widths = [self._width(column) for column in self.columns]
        shown = len(widths)
        while shown > 1 and sum(widths[:shown]) + _GAP * shown > options.max_width:
            shown -= 1
        yield Text(self.title, style="bold")
        yield self._table(self.columns[:shown])
        if shown < len(self.columns):
            hidden = ", ".join(c.heading.replace("\n", " ") for c in self.columns[shown:])
            yield Text(f"Not shown for lack of width: {hidden}.\n")

    def _width(self, column: Column) -> int:
        """Characters of the widest cell."""
        cells = (len(format_value(column, row)) for row in self.rows)
        return max([*map(len, column.heading.split("\n")), *cells])

    def _table(self, columns: Sequence[Column]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for column in columns:
            table.add_column(
                column.heading,
                justify="left" if column.text else "right",
                no_wrap=True,
                min_width=self._width(column),
                header_style="bold",
            )
        for index, row in enumerate(self.rows):
            last = index + 1 == len(self.rows)
            table.add_row(
                *(format_value(column, row) for column in columns),
                style="bold" if self.strong(row) else None,
                end_section=not last
                and self.section_of(row) != self.section_of(self.rows[index + 1]),
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
        console.print(part, markup=False)
    lines = (line.rstrip() for line in text.getvalue().splitlines())
    return "\n".join(lines) + "\n"
