"""Checking a compiled program: many runs on random inputs, and the smallest that differs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import decode
from tramposim.bpf.loaded import LoadedFunction
from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.entry import check_entries
from tramposim.machine.rules.inputs import CALLS, Inputs
from tramposim.machine.rules.probe import Probe
from tramposim.machine.rules.program import ProgramRun
from tramposim.machine.rules.rule import Violation
from tramposim.machine.rules.turns import Explorer, Plan

__all__ = ["RUNS", "Counterexample", "ProgramReport", "check_program"]

RUNS = 16
"""Inputs of their own that a program runs on unless told otherwise."""
_TURNED = 5
"""At most so many runs are made in all, times those on inputs of their own."""
_TRIALS = 160
_ROUNDS = 3
"""After so many runs one goes towards other branches than the last one took."""
_PART = 0.5
_SHOWN = 12
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Counterexample:
    """The fewest input words with which code and interpreter still differ; all others are 0.

    `memory` are (address, word), `calls` (number of the call, what it returns).
    """

    seed: int
    memory: tuple[tuple[int, int], ...]
    calls: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        words = [f"[{address:#x}] = {value:#x}" for address, value in self.memory]
        words += [f"call {number} returns {value:#x}" for number, value in self.calls]
        if len(words) > _SHOWN:
            words[_SHOWN:] = [f"{len(words) - _SHOWN} more"]
        return ", ".join(words) or "all memory zero, all calls return 0"


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """What checking a program found in `runs` runs, `inconclusive` of which took too long."""

    violations: tuple[Violation, ...]
    runs: int
    inconclusive: int = 0
    counterexample: Counterexample | None = None


def check_program(
    probe: Probe,
    program: CompiledProgram,
    seed: int = 0,
    runs: int = RUNS,
    minimise: bool = True,
) -> ProgramReport:
    """Run the program `runs` times on inputs of the seed; stops at the first that differs."""
    static = tuple(check_entries(program))
    if static:
        return ProgramReport(static, 0)
    probe.load(program.listing)
    constants = tuple(sorted(_constants(program.functions)))
    inconclusive = number = 0
    inputs, fresh = Inputs(seed * 1_000_003, constants), 0
    explorer = Explorer(program, seed, constants)
    planned = [Plan(inputs)]
    base: ProgramRun | None = None
    doubted = False
    for made in range(runs * _TURNED):
        plan = planned.pop()
        run = ProgramRun(program, probe, plan.inputs, plan.turns)
        found = run.run()
        inconclusive += not run.conclusive
        base = base if plan.turns and base is not None else run
        if found and not doubted and any(turn.after for turn in plan.turns):
            # A place that was learned may be wrong once; another one will not be as well.
            doubted = True
            explorer.distrust(plan)
        elif found:
            example = None
            if minimise:
                example, found = _minimised(probe, program, plan, run, found)
            return ProgramReport(tuple(found), made + 1, inconclusive, example)
        else:
            explorer.learn(run)
            planned += explorer.plans(run)
        if planned:
            continue
        number += 1
        if number >= runs:
            break
        if base.wishes and number % _ROUNDS == 0:
            inputs = _towards(inputs, base)
        else:
            fresh += 1
            inputs = Inputs(seed * 1_000_003 + fresh, constants)
        planned.append(Plan(inputs))
    return ProgramReport((), made + 1, inconclusive)


def _towards(inputs: Inputs, run: ProgramRun) -> Inputs:
    """Inputs that make some of the run's branches go the other way.

    Where a branch compared a value that had just been read with another one, the place that it
    was read from gets that other value, or one beside it.
    """
    chance = random.Random(f"{inputs.seed}/{len(inputs.chosen)}/{len(run.wishes)}")
    chosen = dict(inputs.chosen)
    for (address, size), value in run.wishes:
        if chance.random() < _PART:
            word, shift = address & -8, 8 * (address & 7)
            if address & 7 and (address & 7) + size > 8:
                continue
            wanted = value + chance.choice((-1, 0, 0, 0, 1))
            mask = (1 << 8 * size) - 1 << shift
            old = chosen.get(word, inputs.word(word))
            chosen[word] = old & ~mask & _MASK | wanted << shift & mask
    return replace(inputs, chosen=tuple(chosen.items()))


def _constants(functions: Iterable[LoadedFunction]) -> set[int]:
    """Numbers that the program mentions, which its branches may depend on."""
    found = {0, 1}
    for function in functions:
        for insn in decode(function.insns):
            cls = insn.cls
            if cls in (isa.JMP, isa.JMP32, isa.ALU, isa.ALU64) and not insn.from_register:
                found |= {insn.imm & _MASK, insn.imm & 0xFFFFFFFF}
    return found


def _minimised(
    probe: Probe,
    program: CompiledProgram,
    plan: Plan,
    run: ProgramRun,
    found: list[Violation],
) -> tuple[Counterexample, list[Violation]]:
    """Set ever more input words to zero as long as code and interpreter differ."""
    kept = sorted(_looked_at(run))
    trials = 0
    best = found

    def differs(words: list[int]) -> bool:
        nonlocal trials, best
        trials += 1
        inputs = replace(plan.inputs, kept=frozenset(words))
        attempt = ProgramRun(program, probe, inputs, plan.turns)
        violations = attempt.run()
        if violations:
            best = violations
        return bool(violations)

    size = len(kept)
    while size and trials < _TRIALS:
        start = 0
        while start < len(kept) and trials < _TRIALS:
            without = kept[:start] + kept[start + size :]
            if differs(without):
                kept = without
            else:
                start += size
        size //= 2
    smallest = replace(plan.inputs, kept=frozenset(kept))
    memory = [(a, smallest.word(a)) for a in kept if not CALLS <= a < 2 * CALLS]
    calls = [(a - CALLS, smallest.word(a)) for a in kept if CALLS <= a < 2 * CALLS]
    return Counterexample(plan.inputs.seed, tuple(memory), tuple(calls)), best


def _looked_at(run: ProgramRun) -> set[int]:
    """Keys of the inputs that a run may have depended on: all of the memory that it touched."""
    words = set(run.words)
    for page in run.code.mapped:
        first = page & run.code.mask
        words.update(range(first, first + 4096, 8))
    return words | {CALLS + number for number in range(len(run.code.events) + 1)}
