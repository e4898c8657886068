"""Branches made to go either way: registers changed alike in code and interpreter.

A JIT translates instruction by instruction; it does not know which values a register can
have. So at a conditional branch the registers may be given any values, in the machine just
before it compares and in the interpreter before the branch, and both must still do the same.
That reaches code that no input reaches, compares at the bounds, and gives what follows values
that it does not see otherwise.

Where in the machine code a branch lies is learned from runs in lockstep: between two moments
at which all registers are known, as many conditional branches of the machine as of the
program must have run.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import COMPARISONS, M32, M64
from tramposim.bpf.insn import Insn, Reg, decode
from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.inputs import Inputs
from tramposim.machine.rules.listing import Flow
from tramposim.machine.rules.program import ProgramRun
from tramposim.machine.rules.turn import Branch, Turn
from tramposim.spec import Arch

__all__ = ["Explorer", "Plan"]

_COMPARES = {Arch.X86_64: ("cmp", "test"), Arch.ARM64: ("cmp", "cmn", "tst")}
_SELF = ("cbz", "cbnz", "tbz", "tbnz")
_SHAKEN = 0.3
_MOST_TURNS = 24
_BOUNDS = (0, 1, M64, 1 << 63, (1 << 63) - 1, M32, 1 << 31, (1 << 31) - 1)


@dataclass(frozen=True)
class Plan:
    """A run: its inputs, and the branches at which registers change."""

    inputs: Inputs
    turns: tuple[Turn, ...] = ()


class Explorer:
    """Learns from runs of a program where its branches lie and which ways they went."""

    def __init__(self, program: CompiledProgram, seed: int) -> None:
        self._program = program
        self._random = random.Random(seed)
        self._code = [decode(function.insns) for function in program.functions]
        self._sites: dict[tuple[int, int], int] = {}
        self._unknown: set[tuple[int, int]] = set()
        self._tried: set[tuple[int, int, bool]] = set()
        listing = program.listing
        self._before = {
            after.address: before
            for before, after in zip(listing.instructions, listing.instructions[1:], strict=False)
        }
        self._jumps = np.array(
            [one.address for one in listing.instructions
             if listing.flow(one.address) is Flow.CONDITIONAL],
            np.uint64,
        )  # fmt: skip

    def learn(self, run: ProgramRun) -> None:
        """Match the branches of a run with those of the machine."""
        lockstep = run.lockstep
        if lockstep is None or not len(lockstep.pcs):
            return
        pcs = lockstep.pcs
        rows = np.flatnonzero(np.isin(pcs, self._jumps)).tolist()
        branches, start = run.branches, 0
        while start < len(branches):
            low = branches[start].row
            end = start
            while end < len(branches) and branches[end].row == low:
                end += 1
            later = bisect_right(lockstep.rows, low)
            if later < len(lockstep.rows):
                first = bisect_left(rows, low)
                last = bisect_left(rows, lockstep.rows[later])
                if last - first == end - start:
                    for branch, row in zip(branches[start:end], rows[first:last], strict=True):
                        self._match(branch.place, int(pcs[row]))
            start = end

    def _match(self, place: tuple[int, int], address: int) -> None:
        if self._sites.setdefault(place, address) != address:
            self._unknown.add(place)

    def plans(self, run: ProgramRun) -> Iterator[Plan]:
        """Runs that turn one branch each to where none went before, comparing at the bound;
        then one that changes registers at many branches."""
        seen: set[tuple[int, tuple[int, int]]] = set()
        shaken = []
        turns = run.code.turns
        for branch in run.branches:
            if (branch.turned, branch.place) in seen:
                continue
            seen.add((branch.turned, branch.place))
            at = self._compare_of(branch)
            if at is None:
                continue
            shaken.append((branch, at))
            if branch.turned < len(turns) or branch.turned >= _MOST_TURNS:
                continue
            for taken in (not branch.taken, branch.taken):
                if (*branch.place, taken) not in self._tried:
                    turn = self._turn(branch, at, taken, len(turns) % 2 == 1)
                    if turn is not None:
                        self._tried.add((*branch.place, taken))
                        yield Plan(run.inputs, (*turns[: branch.turned], turn))
        if not turns and shaken:
            several = [
                self._turn(branch, at, self._random.random() < 0.5, True)
                for branch, at in shaken[:_MOST_TURNS]
            ]
            yield Plan(run.inputs, tuple(turn for turn in several if turn is not None))

    def _compare_of(self, branch: Branch) -> int | None:
        """The machine instruction that compares for a branch, if that is certain."""
        place = branch.place
        address = self._sites.get(place)
        if address is None or place in self._unknown:
            return None
        listing = self._program.listing
        own, before = listing.at[address], self._before.get(address)
        names = _names(self._program, self._insn(place).dst)
        if own.mnemonic in _SELF:
            return address if own.operands.split(",")[0] in names else None
        if before is None or before.mnemonic not in _COMPARES[self._program.arch]:
            return None
        used = {text.strip() for text in before.operands.split(",")}
        return before.address if used & names else None

    def _insn(self, place: tuple[int, int]) -> Insn:
        return self._code[place[0]][place[1]]

    def _turn(self, branch: Branch, at: int, taken: bool, shake: bool) -> Turn | None:
        """Values that make the branch go this way; None if none were found."""
        insn = self._insn(branch.place)
        if insn.dst == Reg.FP or (insn.from_register and insn.src == insn.dst):
            return None
        bits = 64 if insn.cls == isa.JMP else 32
        mask = (1 << bits) - 1
        compare, right = COMPARISONS[insn.op], branch.right
        near = [right, right + 1, right - 1]
        self._random.shuffle(near)
        noise = self._random.getrandbits(64)
        candidates = [*near, right ^ noise & 0xFF, ~right, right & -right, noise, *_BOUNDS]
        for value in candidates:
            if compare(value & mask, right, bits) == taken:
                upper = self._random.getrandbits(32) << 32 if bits == 32 else 0
                values = {insn.dst: value & mask | upper}
                break
        else:
            return None
        if shake:
            fixed = {insn.dst, insn.src if insn.from_register else insn.dst}
            for number in sorted(branch.defined - fixed):
                if number < Reg.FP and self._random.random() < _SHAKEN:
                    values[number] = self._value()
        return Turn(branch.place, at, tuple(values.items()))

    def _value(self) -> int:
        kind = self._random.randrange(4)
        if kind == 0:
            return self._random.choice(_BOUNDS)
        if kind == 1:
            return self._random.getrandbits(self._random.randrange(1, 33))
        return self._random.getrandbits(64)


def _names(program: CompiledProgram, number: int) -> set[str]:
    """What a compare calls an eBPF register, in 64 and 32 bits."""
    name = program.registers[number]
    if program.arch is Arch.ARM64:
        return {name, "w" + name[1:]}
    return {name, name + "d" if name[1:].isdigit() else "e" + name[1:]}
