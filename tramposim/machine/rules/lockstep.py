"""Registers in lockstep: what the interpreter's hold after every instruction, the machine's do.

JITs of the kernel keep every eBPF register in one machine register and translate instruction
by instruction. So for each eBPF instruction there is a moment of the code's run, not before
that of the instruction before, at which all registers that a program may read hold what the
interpreter's hold. A wrong value is told where it arises, even if it is masked or overwritten
before anything depends on it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from tramposim.bpf.insn import Reg
from tramposim.bpf.outside import State
from tramposim.machine.rules.coderun import CodeRun
from tramposim.machine.rules.probe import Segment
from tramposim.machine.trace import STORE

__all__ = ["Lockstep"]


class Lockstep:
    """Follows a code's run.

    `pcs` are the machine instructions executed, `at` the last of them at which the registers
    were what the interpreter's are, `rows` all that were. `parted` is (address, what) of the
    first state that never was, `ran_out` whether it was looked for up to the run's end.
    """

    def __init__(self, code: CodeRun) -> None:
        segments = code.probe.segments
        self.parted: tuple[int, str] | None = None
        self._on = all(segment.stack is not None for segment in segments)
        self.at = 0
        self.rows = [0]
        self.ran_out = False
        self.pcs = np.zeros(0, np.uint64)
        program = code.program
        # JITs compute in the verifier's scratch register; frames have other registers.
        apart = (Reg.FP, program.target.scratch)
        self._names = {n: r for n, r in program.registers.items() if n not in apart}
        ends = np.cumsum([len(segment.pcs) for segment in segments]).tolist()
        self._ends = [*(ends[event.segment] for event in code.events), ends[-1] if ends else 0]
        self._segments = segments
        self._loads: dict[tuple[int, int], list[int]] | None = None
        self._doors = [ends[segment] for segment in code.doors]
        self._limit = self._ends[0]
        if self._on and ends:
            self.pcs = np.concatenate([segment.pcs for segment in segments])
            self._columns = {
                number: np.concatenate([s.followed[name] for s in segments]).tolist()
                for number, name in self._names.items()
            }

    def called(self, number: int) -> None:
        """The interpreter made its call of this number, and so did the code."""
        if self._on:
            self.at = max(self.at, self._ends[number])
            self.rows.append(self.at)
        self._limit = self._ends[number + 1]

    def turned(self, number: int) -> None:
        """Registers were changed, for the turn of this number."""
        if self._on and number < len(self._doors):
            self.at = max(self.at, self._doors[number])
            self.rows.append(self.at)

    def loaded(self, address: int, size: int, number: int) -> int | None:
        """What the code's next load from this place put into an eBPF register's; None if it
        makes none."""
        if not self._on or number not in self._columns:
            return None
        if self._loads is None:
            self._loads = _loads(self._segments)
        rows = self._loads.get((address, size), [])
        following = bisect_left(rows, self.at)
        if following == len(rows) or rows[following] + 1 >= self._limit:
            return None
        return int(self._columns[number][rows[following] + 1]) & (1 << 8 * size) - 1

    def step(self, function: int, index: int, state: State) -> None:
        """The interpreter executed an instruction."""
        if not self._on:
            return
        columns, registers = self._columns, state.registers
        wanted = [(columns[n], registers[n]) for n in state.defined if n in columns]
        for at in range(self.at, self._limit):
            for column, value in wanted:
                if column[at] != value:
                    break
            else:
                if at != self.at:
                    self.at = at
                    self.rows.append(at)
                return
        self._on = False
        self.ran_out = self._limit == len(self.pcs)
        if self.at < len(self.pcs):
            what = self._what(state)
            place = f"after eBPF instruction {index}"
            place += f" of function {function}" if function else ""
            self.parted = int(self.pcs[self.at]), f"{what} {place}, as the interpreter's does"

    def _what(self, state: State) -> str:
        """Which register is to blame: one that never has its value, if there is one."""
        for number in sorted(state.defined & set(self._columns)):
            value = state.registers[number]
            if value not in self._columns[number][self.at : self._limit]:
                return f"r{number} ({self._names[number]}) does not become {value:#x}"
        return "the registers never hold together what they should"


def _loads(segments: Sequence[Segment]) -> dict[tuple[int, int], list[int]]:
    """Rows of the instructions that load from (address, bytes)."""
    found: dict[tuple[int, int], list[int]] = {}
    start = 0
    for segment in segments:
        made = segment.accesses[(segment.accesses["flags"] & STORE) == 0]
        for address, index, size, _ in made.tolist():
            found.setdefault((address, size), []).append(start + index)
        start += len(segment.pcs)
    return found
