"""Compiled programs against the interpreter: same memory, same callees, step by step.

The compiled code runs first, alone on the probe, and every call out of it is recorded with
registers and memory. Then the interpreter runs what the JIT was given and is compared after
each instruction, at each call and at the end.
"""

from __future__ import annotations

from dataclasses import replace

from tramposim.bpf.lowered import interpret_lowered
from tramposim.bpf.outside import OutOfBudget, TailCalled, Thrown
from tramposim.machine.rules.coderun import EXECUTED, CodeRun
from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.ending import check_end, compare_tail, tail_calls
from tramposim.machine.rules.inputs import Inputs
from tramposim.machine.rules.invocations import invocations_of
from tramposim.machine.rules.lockstep import Lockstep
from tramposim.machine.rules.parting import Differs, Undefined
from tramposim.machine.rules.probe import Departure, Probe
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.machine.rules.traffic import compare_loads, compare_stores
from tramposim.machine.rules.turn import Branch, Move, Turn
from tramposim.machine.rules.world import World

__all__ = ["ProgramRun"]

INTERPRETED = 6_000
"""eBPF instructions that an interpreted run may take; what comes behind is not compared."""


class ProgramRun:
    """One run of a program on the inputs; `run` gives the violations.

    Afterwards `words` are the input words that the interpreter looked at, `wishes` (place,
    value) what would turn its branches, `branches`, `moves` and `lockstep` how it went, and
    `conclusive` tells whether it came to the end.
    """

    def __init__(
        self,
        program: CompiledProgram,
        probe: Probe,
        inputs: Inputs,
        turns: tuple[Turn, ...] = (),
    ) -> None:
        self.program = program
        self.inputs = inputs
        self.words: frozenset[int] = frozenset()
        self.wishes: tuple[tuple[tuple[int, int], int], ...] = ()
        self.conclusive = self.comparable = True
        self.branches: list[Branch] = []
        self.moves: list[Move] = []
        self.lockstep: Lockstep | None = None
        self.code = CodeRun(program, probe, inputs, turns)

    def run(self) -> list[Violation]:
        """Execute, interpret, compare."""
        code = self.code
        try:
            self._run()
        except Differs as differs:
            code.found(differs.rule, differs.address, differs.detail)
        finally:
            code.close()
        return code.violations

    def _run(self) -> None:
        code, program = self.code, self.program
        end, held = None, None
        try:
            end = code.execute()
        except Differs as differs:
            if not code.turns:
                raise
            held = differs
        calls = invocations_of(code)
        if end is not None:
            try:
                check_end(code, end, calls)
            except Differs as differs:
                if not code.turns:
                    raise
                end, held = None, differs
        if not program.interpreted:
            self.conclusive = end is not None
            return
        world = World(code, calls)
        try:
            self._interpret(world, end)
            if end is not None and self.conclusive and world.calls == len(code.events):
                world.compare_memory(code.snapshot(), end.site, code.stack())
                compare_loads(code, world.pages)
                compare_stores(code, calls, world.stores)
        finally:
            self.words = frozenset(world.pages.read_words)
            self.branches, self.moves = world.branches, world.moves
            self.lockstep = world.lockstep
            self.wishes = tuple(world.wishes)
        if code.turns and not self.comparable:
            code.violations.clear()
        elif held is not None:
            raise held
        if world.lockstep.parted is not None and not code.violations:
            raise Differs(Rule.REGISTERS, *world.lockstep.parted)

    def _interpret(self, world: World, end: Departure | None) -> None:
        """Run the interpreter, and compare how both end."""
        code, program, target = self.code, self.program, self.program.target
        if program.percpu_at:
            target = replace(target, percpu=world.pages.load(program.percpu_at, 8))
        try:
            result = interpret_lowered(
                program.functions, program.addresses, target, world,
                (self.inputs.context,), INTERPRETED,
            )  # fmt: skip
        except (OutOfBudget, Undefined):
            self.conclusive = self.comparable = False
        except TailCalled as tail:
            if end is not None:
                compare_tail(code, end, tail)
        except Thrown:
            pass
        else:
            if end is not None:
                self._compare_return(world, end, result)
            elif world.code_should_have_come():
                raise Differs(
                    Rule.EXECUTION, program.addresses[0],
                    f"does not end within {EXECUTED} instructions, the interpreter does after"
                    f" {world.steps}",
                )  # fmt: skip
        if end is None:
            self.conclusive = False
        elif self.conclusive and code.wild and not world.wild:
            raise Differs(
                Rule.MEMORY, end.site,
                "accesses memory at an address that is not canonical, the interpreter does not",
            )  # fmt: skip

    def _compare_return(self, world: World, end: Departure, result: int) -> None:
        code = self.code
        if tail_calls(code, end):
            raise Differs(
                Rule.TAIL_CALL, end.site,
                f"jumps to {code.name(end.target)} instead of returning",
            )  # fmt: skip
        if world.calls < len(code.events):
            event = code.events[world.calls]
            raise Differs(
                Rule.HELPER_CALL, event.site,
                f"calls {code.name(event.target)}, the interpreter returns",
            )  # fmt: skip
        got = code.probe.get(code.probe.convention.result)
        if got != result:
            raise Differs(Rule.RESULT, end.site, f"returns {got:#x}, the interpreter {result:#x}")
