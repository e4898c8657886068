"""A conditional branch that a run came to, and one at which registers are to change."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Branch", "Turn"]


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as the interpreter met it.

    `place` is (function, instruction index), `row` the last executed machine instruction
    before it at which all registers were known, `turned` how many turns were made before,
    `right` what it compared with, `defined` the registers that a program may read there.
    """

    place: tuple[int, int]
    taken: bool
    row: int
    turned: int
    right: int
    defined: frozenset[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """At the branch `place`, when it is first come to after the turn before, eBPF registers
    get `values` (number, value); in the machine before the instruction at `at`."""

    place: tuple[int, int]
    at: int
    values: tuple[tuple[int, int], ...]
