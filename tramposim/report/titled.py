"""Titled tables with a legend and the sentences that follow from them, as text and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tramposim.report.columns import Column
from tramposim.report.export import markdown_table
from tramposim.report.table import TextTable, render

__all__ = ["TitledTable", "titled_markdown", "titled_text"]


@dataclass(frozen=True, slots=True)
class TitledTable:
    """One table; its title may have lines. Text has a rule where `section_of` changes."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, object]]
    section_of: Callable[[Mapping[str, object]], object] = lambda row: None


def titled_text(
    tables: Iterable[TitledTable], legend: str, sentences: Iterable[str], output: str
) -> str:
    """For a terminal, or as plain text for a file; rows of sessions are emphasised."""
    parts: list[Any] = [
        TextTable(
            table.columns,
            table.rows,
            table.title,
            section_of=table.section_of,
            strong=lambda row: str(row["scenario"]).startswith("fsession"),
        )
        for table in tables
    ]
    parts.append(legend)
    for sentence in sentences:
        parts += ["", sentence]
    return render(*parts, output=output)


def titled_markdown(tables: Iterable[TitledTable], legend: str, sentences: Iterable[str]) -> str:
    """The same as Markdown."""
    blocks = [
        f"### {table.title.replace(chr(10), ', ')}\n\n{markdown_table(table.columns, table.rows)}"
        for table in tables
    ]
    return "\n".join([*blocks, legend + "\n", *(sentence + "\n" for sentence in sentences)])
