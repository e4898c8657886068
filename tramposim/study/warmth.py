"""What a call costs by what it finds: the core model executes it in the states that occur.

Between two calls other code runs on the CPU. It passes lines, pages and branches through the
caches, TLBs and predictors, over and over the same working set. `tramposim._native.warmth`
carries each CPU's state from call to call and asks for the calls that it wants executed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim._native.callcosts import CallCosts
from tramposim._native.corestate import CoreState, LastLevel
from tramposim._native.pipeline import EVENTS
from tramposim._native.warmth import CallsOf, Passing
from tramposim.errors import InputError
from tramposim.machine.trace import PageRange
from tramposim.machine.traced import TracedFunction
from tramposim.schedule.clock import Clock
from tramposim.study.places import LINE, Moves, call_path, moves_of, with_moved_text
from tramposim.study.sharing import SharedLines, shared_lines
from tramposim.timing import Core
from tramposim.timing.calls import CallTimer
from tramposim.timing.decode import parameters
from tramposim.timing.footprint import footprint_of

__all__ = ["Background", "Warmth", "measure_warmth", "passing"]

_RECORDED = 16
"""Calls that are recorded, of which one in the middle is timed."""

TOLERANCE = 0.002
"""Calls are executed until the standard error of the mean cost is this share of it."""

_MISPREDICTS = ("conditional_mispredicts", "indirect_mispredicts", "return_mispredicts")

_PAGES_PER_TABLE_ENTRY = 16
"""Pages of the background per entry that it brings into the paging-structure caches."""


@dataclass(frozen=True, slots=True)
class Background:
    """What runs between the calls, as the caches see it.

    `lines_per_s` distinct lines of 64 bytes pass through a second, of a working set of
    `footprint` bytes; `code_share` of them are code. A page is left after `lines_per_page`
    lines, and a line of code holds `branches_per_line` taken branches. `sharers` CPUs, each with
    such a background and such calls, share the last-level cache.
    """

    lines_per_s: float = 0.0
    footprint: int = 0
    code_share: float = 0.4
    lines_per_page: int = 8
    branches_per_line: float = 1.0
    sharers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.lines_per_s <= 1e12 or not 0 <= self.footprint <= 1 << 40:
            raise InputError("a background passes 0 to 1e12 lines per second, of at most 1 TiB")
        if not 0 <= self.code_share <= 1 or not 1 <= self.lines_per_page <= 64:
            raise InputError("code_share is 0 to 1, lines_per_page 1 to 64")
        if not 0 <= self.branches_per_line <= 16:
            raise InputError("branches_per_line is 0 to 16")
        if not 1 <= self.sharers <= 8192:
            raise InputError("1 to 8192 CPUs share a last-level cache")


def passing(background: Background, core: Core, clock: Clock) -> Passing:
    """The background of a CPU of this core, as the native code wants it."""
    code, data = background.code_share, 1.0 - background.code_share
    page = 1.0 / background.lines_per_page
    windows = parameters(core)["uop_cache_window"]
    shares = [
        code * max(1, LINE // windows) if windows else code,
        data,
        data * page,
        code,
        code * page,
        1.0,
        page,
        page / _PAGES_PER_TABLE_ENTRY,
    ]
    branches = core.branches
    fast, main = int(branches.fast_btb_entries.value), int(branches.main_btb_entries.value)
    last = int(branches.last_btb_entries.value)
    return Passing(
        clock.per_subcycle(background.lines_per_s),
        background.footprint // LINE,
        [min(1 << 16, round(share * 2.0**16)) for share in shares],
        round(background.branches_per_line * code * 2.0**16),
        fast + main,
        fast + main + last,
    )


class Warmth:
    """The calls of a scenario on CPUs whose state is carried from call to call.

    `costs` are what was learnt so far; it is kept from run to run. `shared` are the
    lines that other CPUs use too, `transfer_cycles` what it takes to fetch one that another CPU
    has written, `hot_cycles` what a call costs back to back.
    """

    def __init__(
        self,
        core: Core,
        timer: CallTimer,
        pages: tuple[PageRange, ...],
        moves: Moves,
        shared: SharedLines,
        hot_cycles: float,
        call: int,
    ) -> None:
        self._params = parameters(core)
        self._ranges = [(page.start, page.end, page.shift) for page in pages]
        self.core = core
        self.hot_cycles = hot_cycles
        self.shared = shared
        self.transfer_cycles = float(core.caches.remote_latency.value)
        window = self._params["uop_cache_window"]
        self.costs = CallCosts(
            call_path(timer.prepared, call, pages, moves, window),
            _Execution(timer, moves, hot_cycles, call).execute,
            moves.arrays,
            _contended(shared, moves),
            TOLERANCE,
        )

    def new_state(self, last_level: LastLevel | None = None) -> CoreState:
        """A CPU that has never made a call."""
        return CoreState(self._params, self._ranges, last_level)

    def new_last_level(self) -> LastLevel:
        """An empty last-level cache for CPUs to share."""
        return LastLevel(self._params)

    def on_cpu(
        self,
        number: int,
        sharers: int,
        last_level: LastLevel,
        background: Passing,
        alone: bool,
        full: bool,
    ) -> CallsOf:
        """The calls of CPU `number`, none made yet; `full`: each will be executed."""
        state = self.new_state(last_level)
        return CallsOf(self.costs, state, background, number, sharers, alone, full)


class _Execution:
    """Executes calls in the states of CPUs, wherever their function's own lines are.

    Predictors' directions and indirect targets are those of the executing core: it has learnt
    every function, and what other code leaves behind is other history.
    """

    def __init__(self, timer: CallTimer, moves: Moves, hot_cycles: float, call: int) -> None:
        prepared = timer.prepared
        self._timer = timer
        self._call = call
        self._code = prepared.code.insns["pc"].copy()
        self._accesses = prepared.call(call)[1]["address"].astype(np.uint64)
        self._regions = moves.of(self._code), moves.of(self._accesses)
        self._moves = moves.arrays
        self._placed = (0, 0)
        timer.warm()
        self._base = hot_cycles - timer.time(call).cycles
        self._train()
        self._move(0, 0)

    def execute(
        self, state: CoreState, function: int, cpu: int, disturbed: bool
    ) -> tuple[float, int]:
        """Cycles and mispredicts of a call in `state`, which is then as the call leaves it."""
        timer = self._timer
        if (function, cpu) != self._placed:
            self._move(function, cpu)
        if disturbed:
            timer.state.evict("history")
        timer.state.exchange(state)
        try:
            call = timer.time(self._call)
        finally:
            timer.state.exchange(state)
        events = dict(zip(EVENTS, call.events, strict=True))
        mispredicts = sum(events[name] for name in _MISPREDICTS)
        return max(1.0, self._base + call.cycles), mispredicts

    def _move(self, function: int, cpu: int) -> None:
        """Place function and CPU's own places, and let the predictors know them."""
        fixed, by_function, by_cpu = self._moves
        offsets = (fixed + function * by_function + cpu * by_cpu).astype(np.uint64)
        code, accesses = self._regions
        self._timer.place(
            self._call, self._code + offsets[code], self._accesses + offsets[accesses]
        )
        if function != self._placed[0]:
            self._train()
        self._placed = (function, cpu)

    def _train(self) -> None:
        """Let the predictors learn the calls, after others of them and after other code."""
        for disturbed in (True, True, False):
            if disturbed:
                self._timer.state.evict("history")
            self._timer.train(self._call)


def measure_warmth(
    world: TracedFunction,
    core: Core,
    hot_cycles: float,
    alone: bool = True,
    migrating: bool = False,
    recorded: int = _RECORDED,
) -> Warmth:
    """What a world's call costs by what it finds; raises what timing raises.

    `hot_cycles` is what a call costs back to back, to which each state's surcharge is added.
    `alone`: no other function is traced; `migrating`: threads move between CPUs; `recorded`:
    calls that are executed for it, at most. The world must have been run before, so that its
    maps hold their entries.
    """
    trace = world.run(min(recorded, _RECORDED)).trace
    assert trace is not None
    call = trace.call_count // 2
    timer = CallTimer(trace, core)
    pages = trace.pages if alone else with_moved_text(trace.pages, world)
    footprint = footprint_of(timer.prepared, trace.pages, call)
    shared = shared_lines(world, footprint, migrating)
    return Warmth(core, timer, pages, moves_of(world, not alone), shared, hot_cycles, call)


def _contended(shared: SharedLines, moves: Moves) -> NDArray[np.int64]:
    """(Address, region, group) of the lines that other CPUs write."""
    rows = [
        np.stack([lines.astype(np.int64), moves.of(lines), np.full(len(lines), group)], axis=1)
        for group, lines in enumerate(shared.by_group)
    ]
    return np.ascontiguousarray(np.concatenate(rows), np.int64)
