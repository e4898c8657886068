"""How the fields of a record are headed, explained and formatted in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SPREAD", "Column", "format_value", "with_spread"]


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
        return f"{value:z,.{column.decimals}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


SPREAD = Column("cycles_spread", "±")
"""Half the range of the cycles per call, a field that `with_spread` adds."""


def with_spread(row: Mapping[str, object]) -> Mapping[str, object]:
    """The row, with half the range of its cycles per call if they have one."""
    if "cycles_low" not in row:
        return row
    low, high = (float(str(row[f"cycles_{end}"])) for end in ("low", "high"))
    return {**row, SPREAD.field: (high - low) / 2}
