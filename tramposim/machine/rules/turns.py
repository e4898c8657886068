"""Branches made to go either way: registers changed alike in code and interpreter.

A JIT translates instruction by instruction; it does not know which values a register can
have. So at a conditional branch the registers may be given any values, in the machine just
before it compares and in the interpreter before the branch, and both must still do the same.
That reaches code that no input reaches, compares at the bounds, and gives what follows values
that it does not see otherwise. Behind an instruction that only computes, all registers but its
own may be changed likewise.

Where in the machine code a branch lies is learned from runs in lockstep: between two moments
at which all registers are known, as many conditional branches of the machine as of the
program must have run.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import COMPARISONS, M32, M64
from tramposim.bpf.insn import Insn, Reg
from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.convention import CONVENTIONS
from tramposim.machine.rules.inputs import Inputs
from tramposim.machine.rules.listing import Flow
from tramposim.machine.rules.program import ProgramRun
from tramposim.machine.rules.turn import MOVES, Branch, Move, Reach, Turn
from tramposim.spec import Arch

__all__ = ["Explorer", "Plan"]

_COMPARES = {Arch.X86_64: ("cmp", "test"), Arch.ARM64: ("cmp", "cmn", "tst")}
_SELF = ("cbz", "cbnz", "tbz", "tbnz")
_SHAKEN = 0.3
_TURNED = 0.6
_MOVED = 0.3
"""Chances of a register, a branch, and a move to be changed."""
_SHAKES = 2
"""Runs with changed registers for each without."""
_MOST_TURNS = 32
_ATTEMPTS = 2
_OFTEN = 3
"""A place is known when it was seen so often."""
_NOWHERE = 0, frozenset[int](), 0
_BOUNDS = (0, 1, M64, 1 << 63, (1 << 63) - 1, M32, 1 << 31, (1 << 31) - 1)


@dataclass(frozen=True)
class Plan:
    """A run: its inputs, and the branches at which registers change."""

    inputs: Inputs
    turns: tuple[Turn, ...] = ()


class Explorer:
    """Learns from runs of a program where its branches lie and which ways they went."""

    def __init__(self, program: CompiledProgram, seed: int, constants: Sequence[int]) -> None:
        self._program = program
        self._random = random.Random(seed)
        self._constants = tuple(constants)
        listing = program.listing
        self._code = program.insns
        self._sites: dict[tuple[int, int], int] = {}
        self._places: list[list[tuple[int, int]] | None] = [None] * len(self._code)
        self._shakes = _SHAKES
        self._doubted: set[tuple[int, int]] = set()
        self._unknown: set[tuple[int, int]] = set()
        used = {*program.registers.values(), *program.frames}
        convention = CONVENTIONS[program.arch]
        # Between two instructions these hold nothing.
        self._free = tuple(n for n in convention.volatile if n not in {*used, convention.link})
        self._behind: dict[tuple[int, int], tuple[int, frozenset[int], int]] = {}
        self._lengths = {start: len(code) for start, code in listing.chunks}
        self._targets = [set(_targets(insns)) for insns in self._code]
        self._tried: set[tuple[tuple[int, int], bool, Reach]] = set()
        self._attempts: Counter[tuple[tuple[int, int], bool, Reach]] = Counter()
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
        for branch in run.branches:
            if branch.own:
                reach = run.code.turns[branch.turned].reach
                self._tried.add((branch.place, branch.taken, reach))
        for move in run.moves:
            self._note(move, int(pcs[move.row]))
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

    def _note(self, move: Move, address: int) -> None:
        """Where the code of an instruction ends that changes a register and does nothing else:
        not before any moment at which the registers had their values. Only those that were
        known then may be changed there: others may still have to be restored."""
        function, index = place = move.place
        insn = self._insn(place)
        following = index + (2 if insn.cls == isa.LD else 1)
        if insn.cls not in MOVES or following in self._targets[function]:
            return
        if insn.dst == self._program.target.scratch or _borrows(insn):
            return
        start = self._program.addresses[function]
        if start <= address < start + self._lengths[start]:
            last, known, seen = self._behind.get(place, _NOWHERE)
            if address > last:
                self._behind[place] = address, move.defined, 1
            elif address == last and (seen < _OFTEN or not move.defined <= known):
                self._behind[place] = address, known | move.defined, seen + 1

    def _match(self, place: tuple[int, int], address: int) -> None:
        if place not in self._sites:
            self._places[place[0]] = None
        if self._sites.setdefault(place, address) != address:
            self._unknown.add(place)

    def distrust(self, plan: Plan) -> None:
        """Do not change registers any more behind the instructions where this plan did, but more
        often elsewhere."""
        self._shakes = 3 * _SHAKES
        self._doubted.update(turn.place for turn in plan.turns if turn.after)

    def _in_order(self, place: tuple[int, int], address: int) -> bool:
        """Whether the branches known before and behind an instruction lie so in the machine's
        code as well: if registers do not change for long, a moment may have been mistaken."""
        function, index = place
        places = self._places[function]
        if places is None:
            places = self._places[function] = sorted(
                (at, found) for (owner, at), found in self._sites.items() if owner == function
            )
        where = bisect_left(places, (index, 0))
        below = where == 0 or places[where - 1][1] < address
        where += where < len(places) and places[where][0] == index
        return below and (where == len(places) or address < places[where][1])

    def plans(self, run: ProgramRun) -> Iterator[Plan]:
        """A run that turns branches to where none went before, comparing at the bound; then, if
        this one changed nothing, such that change registers at many branches and moves."""
        turns, batch = run.code.turns, list[Turn]()
        seen: set[tuple[int, int]] = set()
        first = 0
        for branch in run.branches:
            if branch.place in seen or (batch and branch.turned < first):
                continue
            turn = self._untried(branch)
            if turn is None:
                continue
            if not batch:
                first = branch.turned
                seen.clear()
            seen.add(branch.place)
            batch.append(turn)
            if first + len(batch) >= _MOST_TURNS:
                break
        if batch:
            yield Plan(run.inputs, (*turns[:first], *batch))
        if not turns:
            for _ in range(self._shakes):
                yield Plan(run.inputs, self._shaken(run))

    def _divides(self, place: tuple[int, int], taken: bool) -> bool:
        """Whether this way leads to a signed division that the verifier guards by a test of its
        scratch register: what it divides by is not changed alike, and may make the CPU fault."""
        insn = self._insn(place)
        return taken and insn.dst == self._program.target.scratch and insn.op == isa.JGT

    def _untried(self, branch: Branch) -> Turn | None:
        """A way through the branch that was not gone yet."""
        at = self._compare_of(branch)
        if at is None:
            return None
        for reach in (Reach.NEAR, Reach.FAR):
            for taken in (not branch.taken, branch.taken):
                way = branch.place, taken, reach
                if way in self._tried or self._divides(branch.place, taken):
                    continue
                if self._attempts[way] >= _ATTEMPTS:
                    continue
                self._attempts[way] += 1
                turn = self._turn(branch, at, taken, reach)
                if turn is not None:
                    return turn
        return None

    def _shaken(self, run: ProgramRun) -> tuple[Turn, ...]:
        """Registers changed at some of a run's branches, and behind some of its moves."""
        found: list[tuple[tuple[int, int], Turn]] = []
        seen: set[tuple[int, int]] = set()
        for branch in run.branches:
            if branch.place in seen or self._random.random() >= _TURNED:
                continue
            seen.add(branch.place)
            at, taken = self._compare_of(branch), self._random.random() < 0.5
            if at is None or self._divides(branch.place, taken):
                continue
            turn = self._turn(branch, at, taken, Reach.ANY)
            if turn:
                found.append(((branch.step, 1), turn))
        seen.clear()
        for move in run.moves:
            if move.place in seen:
                continue
            seen.add(move.place)
            at, known, often = self._behind.get(move.place, _NOWHERE)
            if often < _OFTEN or move.place in self._doubted or self._random.random() >= _MOVED:
                continue
            if not self._in_order(move.place, at):
                continue
            values = self._shake((move.defined & known) - {self._insn(move.place).dst})
            if values:
                turn = Turn(move.place, at, tuple(values.items()), True, self._free)
                found.append(((move.step, 0), turn))
        if len(found) > _MOST_TURNS:
            found = self._random.sample(found, _MOST_TURNS)
        # A branch is met when the move behind the instruction before it has been made.
        found.sort(key=lambda item: item[0])
        turns = [turn for _, turn in found]
        # Behind a branch's turn the machine stands where it was made: no other can be there.
        return tuple(
            turn
            for before, turn in zip([None, *turns], turns, strict=False)
            if before is None or before.after or before.at != turn.at
        )

    def _compare_of(self, branch: Branch) -> int | None:
        """The machine instruction that compares for a branch, if that is certain."""
        place = branch.place
        address = self._sites.get(place)
        if address is None or place in self._unknown or not self._in_order(place, address):
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

    def _turn(self, branch: Branch, at: int, taken: bool, reach: Reach) -> Turn | None:
        """Values that make the branch go this way; None if none were found."""
        insn = self._insn(branch.place)
        if Reg.FP in (insn.dst, insn.src):
            return None
        bits = 64 if insn.cls == isa.JMP else 32
        pairs = self._operands(insn, branch.right, (1 << bits) - 1, reach)
        pair = next((p for p in pairs if COMPARISONS[insn.op](*p, bits) == taken), None)
        if pair is None:
            return None
        upper = [self._random.getrandbits(32) << 32 if bits == 32 else 0 for _ in pair]
        values = {insn.dst: pair[0] | upper[0]}
        if pair[1] != branch.right and insn.src != insn.dst:
            values[insn.src] = pair[1] | upper[1]
        if reach is Reach.ANY:
            fixed = {insn.dst, insn.src} if insn.from_register else {insn.dst}
            values |= self._shake(branch.defined - fixed)
        return Turn(branch.place, at, tuple(values.items()), reach=reach)

    def _operands(
        self, insn: Insn, right: int, mask: int, reach: Reach
    ) -> Iterator[tuple[int, int]]:
        """Values to compare: such that differ by little or in the upper half only, then others;
        of one register if it is compared with itself, of both if the second is one."""
        near = [right, right + 1, right - 1]
        self._random.shuffle(near)
        noise = self._random.getrandbits(64)
        far = [right + high + step for high in (1 << 32, -1 << 32, 1 << 63) for step in (-1, 0, 1)]
        self._random.shuffle(far)
        rest = [right ^ noise & 0xFF, ~right, right & -right, noise, *_BOUNDS]
        values = [*far, *near, *rest] if reach is Reach.FAR else [*near, *far, *rest]
        if reach is Reach.ANY:
            self._random.shuffle(values)
        same = insn.from_register and insn.src == insn.dst
        for value in values:
            yield value & mask, (value & mask) if same else right
        if insn.from_register and not same:
            for value in values:
                yield right, value & mask

    def _shake(self, registers: frozenset[int]) -> dict[int, int]:
        """New values for some of these registers."""
        return {
            number: self._value()
            for number in sorted(registers)
            if number < Reg.FP and self._random.random() < _SHAKEN
        }

    def _value(self) -> int:
        kind = self._random.randrange(5)
        if kind == 0:
            return self._random.choice(_BOUNDS)
        if kind == 4:
            return self._random.choice(self._constants) + self._random.randrange(-1, 2) & M64
        if kind == 1:
            return self._random.getrandbits(self._random.randrange(1, 33))
        return self._random.getrandbits(64)


def _borrows(insn: Insn) -> bool:
    """Whether a JIT may save other eBPF registers for it, and restore them behind."""
    if insn.cls not in (isa.ALU, isa.ALU64):
        return False
    shifts = insn.op in (isa.LSH, isa.RSH, isa.ARSH) and insn.from_register
    return shifts or insn.op in (isa.DIV, isa.MOD)


def _targets(insns: Sequence[Insn]) -> Iterator[int]:
    """Instructions that are jumped to."""
    for index, insn in enumerate(insns):
        if insn.cls in (isa.JMP, isa.JMP32) and insn.op not in (isa.CALL, isa.EXIT):
            wide = insn.cls == isa.JMP32 and insn.op == isa.JA
            yield index + 1 + (insn.imm if wide else insn.offset)


def _names(program: CompiledProgram, number: int) -> set[str]:
    """What a compare calls an eBPF register, in 64 and 32 bits."""
    name = program.registers[number]
    if program.arch is Arch.ARM64:
        return {name, "w" + name[1:]}
    return {name, name + "d" if name[1:].isdigit() else "e" + name[1:]}
