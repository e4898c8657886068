"""How the fields of a record are headed, explained and formatted in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Column", "format_value"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the record's field, its heading (unit included), decimals for floats."""

    field: str
    heading: str
    decimals: int = 1
    text: bool = False


def format_value(column: Column, row: Mapping[str, object]) -> str:
    """The cell as text: empty for a value the row does not have."""
    value = row.get(column.field)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.{column.decimals}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
