"""Single calls on a core whose state is given: caches, TLBs and predictors carried along."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tramposim._native.corestate import KINDS_OF_MISS, CoreState
from tramposim._native.pipeline import Pipeline
from tramposim.machine.trace import Trace
from tramposim.timing.core import Core
from tramposim.timing.decode import parameters
from tramposim.timing.prepare import PreparedTrace, prepare
from tramposim.timing.stages import Recording, record_calls

__all__ = ["MISS", "CallTimer", "Miss", "TimedCall", "miss_name", "new_state"]

MISS = np.dtype(
    [
        ("pc", "<u8"),
        ("address", "<u8"),
        ("wait", "<u4"),
        ("kind", "u1"),
        ("level", "u1"),
        ("pad", "<u2"),
    ]
)
"""Layout of `MissRec` in `_native/memory.pxd`."""

_LINE_LEVELS = {2: "L2", 3: "L3", 4: "memory", 5: "another CPU"}
_PAGE_LEVELS = {2: "second TLB", 3: "walk"}
_NO_MARKS = np.zeros(0, dtype=np.int64)
_TRAINING = 4000
"""Instructions after which predictors and memory renaming know a trace."""


@dataclass(frozen=True, slots=True)
class Miss:
    """Something that a call did not find in the first level.

    `kind` is a word of `KINDS_OF_MISS`, `found` where it was; `address` is that of the line,
    page or branch, `pc` the instruction that wanted it; `wait` the cycles beyond a hit until it
    was there (misses overlap: they do not add up to a call's cycles).
    """

    kind: str
    found: str
    pc: int
    address: int
    wait: int


def miss_name(kind: int, level: int) -> tuple[str, str]:
    """(kind, where it was found) of the numbers of a miss record."""
    word = KINDS_OF_MISS[kind]
    if word.endswith("line"):
        return word, _LINE_LEVELS[level]
    if word.endswith("page"):
        return word, _PAGE_LEVELS[level]
    return word, "decode"


@dataclass(frozen=True, slots=True)
class TimedCall:
    """One call: core cycles from its first instruction to its last, and its events.

    `records` are its misses as the core kept them (packed, dtype `MISS`), `recording` is what
    its instructions went through, if asked for.
    """

    cycles: int
    events: tuple[int, ...]
    records: bytes = field(repr=False)
    recording: Recording | None = field(default=None, repr=False)

    @property
    def misses(self) -> tuple[Miss, ...]:
        """What the call did not find in the first level, in order."""
        return tuple(
            Miss(*miss_name(kind, level), pc, address, wait)
            for pc, address, wait, kind, level, _ in np.frombuffer(self.records, MISS).tolist()
        )


def new_state(core: Core, trace: Trace) -> CoreState:
    """An empty state of a CPU of this core, with the pages that `trace` was taken on."""
    return CoreState(parameters(core), [(p.start, p.end, p.shift) for p in trace.pages])


class CallTimer:
    """Times calls of one trace, one at a time, on a CPU with state `state`.

    Timers of several traces may share a state: what one call brings in, the next one finds.
    `prepared` is what `prepare` made of the trace, if it did. Raises what `prepare` raises.
    """

    def __init__(
        self,
        trace: Trace,
        core: Core,
        state: CoreState | None = None,
        prepared: PreparedTrace | None = None,
    ) -> None:
        self.prepared: PreparedTrace = prepared or prepare(trace, core)
        self.state = new_state(core, trace) if state is None else state
        code = self.prepared.code
        self._pipeline = Pipeline(parameters(core), code.insns, code.uops, True, self.state)
        calls = range(self.prepared.call_count)
        self._calls = [self.prepared.call(number) for number in calls]
        self._stack = trace.stack

    def caller(self, number: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Addresses that the code that makes a call uses: its code lines, its stack's top."""
        order, accesses = self._calls[number]
        insns = self.prepared.code.insns[order]
        leaves = int(np.argmax(insns["branch"] != 0))
        code = insns["pc"][: leaves + 1]
        if self._stack is not None:
            stack = np.array([self._stack - 1, self._stack], dtype=np.uint64)
        else:
            pushed = accesses["address"][accesses["insn"] == leaves]
            stack = pushed.astype(np.uint64)
        return np.unique(code), stack

    def place(self, number: int, code: NDArray[np.uint64], accesses: NDArray[np.uint64]) -> None:
        """Let the instructions lie at `code`, and call `number` access `accesses`, from now on.

        One address per static instruction, and per access of the call; the code is what it was.
        """
        self.prepared.code.insns["pc"] = code
        self._calls[number][1]["address"] = accesses

    def train(self, number: int) -> None:
        """Execute call `number` with all memory at hand: predictors learn it, caches do not."""
        order, accesses = self._calls[number]
        self._pipeline.simulate_memory(False)
        self._pipeline.run(order, accesses, _NO_MARKS, _NO_MARKS)
        self._pipeline.simulate_memory(True)

    def warm(self) -> None:
        """Execute all calls until predictors know them and every line is there."""
        prepared, pipeline = self.prepared, self._pipeline
        cycles = np.zeros(len(prepared.marks), dtype=np.int64)
        pipeline.simulate_memory(False)
        for _ in range(max(2, -(-_TRAINING // max(1, len(prepared.order))))):
            pipeline.run(prepared.order, prepared.accesses, prepared.marks, cycles)
        pipeline.simulate_memory(True)
        pipeline.lock(True)
        for _ in range(2):
            pipeline.run(prepared.order, prepared.accesses, prepared.marks, cycles)

    def back_to_back(self, passes: int) -> float:
        """Execute all calls `passes` times, one after the other; cycles per call of the last."""
        prepared, pipeline = self.prepared, self._pipeline
        cycles = np.zeros(len(prepared.marks), dtype=np.int64)
        pipeline.simulate_memory(True)
        self.state.clear()
        before = pipeline.cycle
        for _ in range(passes):
            before = pipeline.cycle
            pipeline.run(prepared.order, prepared.accesses, prepared.marks, cycles)
        return (pipeline.cycle - before) / prepared.call_count

    def time(self, number: int, *, record: bool = False) -> TimedCall:
        """Execute call `number` alone, from an idle pipeline, on the state as it is."""
        order, accesses = self._calls[number]
        pipeline = self._pipeline
        pipeline.simulate_memory(True)
        self.state.clear()
        start, before = pipeline.drain(), pipeline.events()
        recording = None
        if record:
            recording = record_calls(pipeline, self.prepared, [number])
        else:
            pipeline.run(order, accesses, _NO_MARKS, _NO_MARKS)
        events = tuple(b - a for a, b in zip(before, pipeline.events(), strict=True))
        return TimedCall(pipeline.cycle - start, events, self.state.misses(), recording)

    def shares(self) -> list[int]:
        """Cycles for which retirement waited for each instruction of the trace, so far."""
        return self._pipeline.shares()
