"""What a run came to, and where registers are to change in the next one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tramposim.bpf import insn as isa

__all__ = ["MOVES", "Branch", "Move", "Reach", "Turn"]


MOVES = (isa.ALU, isa.ALU64, isa.LDX, isa.LD)
"""Classes of instructions that give a register a value and do nothing else."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch as the interpreter met it.

    `place` is (function, instruction index), `step` its number among the instructions
    executed, `row` the last executed machine instruction before it at which all registers were
    known, `turned` how many turns were made before, `right` what it compared with, `defined`
    the registers that a program may read there, `own` whether a turn was made here.
    """

    place: tuple[int, int]
    step: int
    taken: bool
    row: int
    turned: int
    right: int
    defined: frozenset[int]
    own: bool


@dataclass(frozen=True, slots=True)
class Move:
    """An instruction that gave a register a value, as the interpreter executed it.

    `row` is the machine instruction executed next; all else as with `Branch`.
    """

    place: tuple[int, int]
    step: int
    row: int
    turned: int
    defined: frozenset[int]


class Reach(Enum):
    """How far from each other a branch's operands are made: as near as may be, equal in the
    lower half, or anyhow, with other registers changed as well."""

    NEAR = "near"
    FAR = "far"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Turn:
    """Where eBPF registers get `values` (number, value): before the branch `place`, or behind
    the instruction there (`after`), when it is first come to after the turn before; in the
    machine before the instruction at `at`. There the machine registers `free` hold nothing."""

    place: tuple[int, int]
    at: int
    values: tuple[tuple[int, int], ...]
    after: bool = False
    free: tuple[str, ...] = ()
    reach: Reach = Reach.ANY

    def __str__(self) -> str:
        values = ", ".join(f"r{number} = {value:#x}" for number, value in self.values)
        function, index = self.place
        where = f"{'behind' if self.after else 'at'} eBPF instruction {index}"
        return f"{where} of function {function} {values}" if function else f"{where} {values}"
