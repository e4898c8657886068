"""Expressions over the values that registers and memory have before a block of code.

Equal expressions are one object: written out, an expression doubles with every instruction
that reads a value twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Meaning", "Term", "Terms"]


class Term(tuple[Any, ...]):
    """An expression: its parts. Made by `Terms` only, where equal ones are the same."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)


class Terms:
    """All expressions of the blocks that are compared."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Term] = {}

    def __call__(self, *parts: Any) -> Term:
        """The expression with these parts; plain tuples among them become expressions."""
        key = tuple(self(*part) if type(part) is tuple else part for part in parts)
        term = self._known.get(key)
        if term is None:
            term = self._known[key] = Term(key)
        return term


@dataclass(slots=True)
class Meaning:
    """Registers by full name, memory by (base, displacement, bytes), and how the block ends."""

    terms: Terms
    registers: dict[str, Term] = field(default_factory=dict)
    memory: dict[tuple[Term, int, int], Term] = field(default_factory=dict)
    effects: list[Term] = field(default_factory=list)

    def register(self, name: str) -> Term:
        """The value of a register."""
        return self.registers.get(name) or self.terms("initial", name)
