"""What changed between two records: rows that stand for the same thing, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tramposim import __version__
from tramposim.errors import InputError
from tramposim.study.records import Records, Value

__all__ = ["Change", "Changes", "changes_of", "changes_records", "regressions"]

_NO_IDENTITY = frozenset(["core_error", "error", "refused", "clock"])
"""Texts that say something about a row without being what it stands for."""

_HIGHER_IS_BETTER = ("mhits_per_second", "mhits_per_producer", "calls_per_second")

Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Change:
    """A number of a row, before and after; `row` names the row by its texts."""

    row: str
    field: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """After less before, in the field's unit."""
        return self.after - self.before

    @property
    def percent(self) -> float | None:
        """The difference relative to before; None if that was zero."""
        return 100 * self.difference / self.before if self.before else None

    @property
    def worse_percent(self) -> float:
        """By how much it got worse: positive for more cycles, bytes, time or fewer hits."""
        percent = self.percent
        if percent is None:
            percent = 100.0 if self.difference > 0 else 0.0
        return -percent if self.field in _HIGHER_IS_BETTER else percent


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes between two records, and the rows that only one of them has."""

    changes: tuple[Change, ...]
    compared: int
    gone: tuple[str, ...]
    added: tuple[str, ...]


def changes_of(before: Records, after: Records) -> Changes:
    """Compare row by row; a row is identified by all its texts.

    Raises `InputError` if two rows of one record have the same texts.
    """
    old, new = _by_identity(before, "before"), _by_identity(after, "after")
    found = [
        change
        for identity, row in old.items()
        if identity in new
        for change in _changes(_label(identity, old), row, new[identity])
    ]
    return Changes(
        tuple(found),
        len(old.keys() & new.keys()),
        tuple(_label(identity, old) for identity in old if identity not in new),
        tuple(_label(identity, new) for identity in new if identity not in old),
    )


def changes_records(
    changes: Changes, before: str, after: str, command: str, only: Sequence[Change] | None = None
) -> Records:
    """A row per changed number (or per number of `only`), then the rows that one side lacks.

    `what` is `change`, `gone` or `added`; `before` and `after` name the sides in `meta`.
    """
    rows: list[Row] = [
        {
            "what": "change",
            "row": change.row,
            "field": change.field,
            "before": change.before,
            "after": change.after,
            "difference": round(change.difference, 6),
            "percent": None if change.percent is None else round(change.percent, 4),
        }
        for change in (changes.changes if only is None else only)
    ]
    rows += [{"what": "gone", "row": row} for row in changes.gone]
    rows += [{"what": "added", "row": row} for row in changes.added]
    return Records(
        meta={
            "command": command,
            "version": __version__,
            "before": before,
            "after": after,
            "compared": changes.compared,
        },
        rows=tuple(rows),
    )


def regressions(changes: Changes, fields: Sequence[str], limit_percent: float) -> list[Change]:
    """Changes of `fields` that are worse by more than `limit_percent`, the worst first."""
    worse = [
        change
        for change in changes.changes
        if change.field in fields and change.worse_percent > limit_percent
    ]
    return sorted(worse, key=lambda change: -change.worse_percent)


_Identity = tuple[tuple[str, str], ...]


def _by_identity(records: Records, where: str) -> dict[_Identity, Row]:
    rows: dict[_Identity, Row] = {}
    for row in records.rows:
        identity = tuple(
            (name, value)
            for name, value in row.items()
            if isinstance(value, str) and name not in _NO_IDENTITY
        )
        if identity in rows:
            words = " ".join(value for _, value in identity)
            raise InputError(f"two rows are called {words!r}: they cannot be told apart", where)
        rows[identity] = row
    return rows


def _label(identity: _Identity, among: Mapping[_Identity, Row]) -> str:
    """The texts that tell a row from the others of its record."""
    values: dict[str, set[str]] = {}
    for other in among:
        for name, value in other:
            values.setdefault(name, set()).add(value)
    telling = [value for name, value in identity if len(values[name]) > 1]
    return " ".join(telling) or " ".join(value for _, value in identity)


def _changes(label: str, before: Row, after: Row) -> Iterator[Change]:
    for name, value in before.items():
        other = after.get(name)
        if _is_number(value) and _is_number(other) and value != other:
            yield Change(label, name, float(str(value)), float(str(other)))


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
