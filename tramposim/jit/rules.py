"""Helpers to write translation rules with."""

from __future__ import annotations

from tramposim._native.translator import Value
from tramposim.jit.program import Rule

__all__ = ["choose"]


def choose(
    predicate: str, value: Value | int, then: Rule, otherwise: Rule
) -> list[tuple[object, ...]]:
    """Items that emit `then` if the predicate holds for the value, else `otherwise`."""
    return [
        ("when", predicate, value, len(then) + 1),
        *then,
        ("skip", len(otherwise)),
        *otherwise,
    ]
