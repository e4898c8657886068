"""What translation rules are written with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tramposim._native.translator import Value

__all__ = ["Insns", "Rule", "choose"]

Rule = Sequence[tuple[Any, ...]]
"""Machine operations that an eBPF instruction becomes (see the native translator)."""


class Insns:
    """What of a function's instructions decides its prologue: the registers that they name."""

    def __init__(self, code: bytes) -> None:
        self._pairs = code[1::8].hex()

    def uses(self, register: int) -> bool:
        """Whether any instruction names the register."""
        return f"{register:x}" in self._pairs


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
