"""Which rows of a record stand against each other: sessions, and the pairs that they replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["body_kind", "is_session", "pairs_against"]

_Row = Mapping[str, Any]

_KINDS = frozenset(["fentry", "fexit", "fmod_ret", "fsession"])
_SINGLE = ("alone", "pair", "named")
"""Roles of rows of a user's programs that are one way to do something, not everything at once."""


def body_kind(row: _Row) -> str:
    """What the row's programs do, without how: `latency` of `latency-hash`. A user's own
    programs are all of one kind."""
    return "" if "role" in row else str(row["body"]).split("-")[0]


def is_session(row: _Row) -> bool:
    """Whether the row's programs are sessions."""
    if "role" in row:
        return row["role"] in _SINGLE and _kinds(row) == {"fsession"}
    return str(row["scenario"]).startswith("fsession")


def pairs_against(session: _Row, rows: Sequence[_Row]) -> list[_Row]:
    """The pairs that a session stands for: with the same body, else with any of its kind."""
    if "role" in session:
        pair = {"fentry", "fexit"}
        return [row for row in rows if row["role"] in _SINGLE and _kinds(row) == pair]
    pairs = [row for row in rows if row["scenario"] == "fentry+fexit"]
    return [row for row in pairs if row["body"] == session["body"]] or pairs


def _kinds(row: _Row) -> set[str]:
    """The kinds of a scenario's programs."""
    return {word.partition("*")[0] for word in str(row["scenario"]).split("+")} & _KINDS
