"""What a call costs by what it finds: costs by how far the background has displaced its lines.

Between two calls other code runs on the CPU. It passes lines, pages and branches through the
caches, TLBs and predictors, over and over the same working set; how many have passed is the
age of what a call left there. Ages at which something changes place are found on the core
model's own caches; between two of them every call costs the same. One call is executed for
every pair of levels: of what all traced calls share, and of what belongs to one function.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tramposim._native.corestate import CoreState
from tramposim._native.pipeline import EVENTS
from tramposim._native.warmth import CallCosts
from tramposim.errors import InputError
from tramposim.machine.traced import TracedWorld
from tramposim.schedule.clock import SUBCYCLES
from tramposim.study.sharing import SharedLines, shared_lines
from tramposim.timing import Core
from tramposim.timing.calls import CallTimer, TimedCall
from tramposim.timing.footprint import Footprint, footprint_of
from tramposim.timing.states import signature

__all__ = ["Background", "FoundCall", "Warmth", "displace", "measure_warmth"]

LINE = 64
_NONE = np.zeros(0, np.uint64)
_MOST_LINES = 1 << 30
"""More than any cache holds: an age at which nothing is left."""

_OWN_BLOCKS = ("struct bpf_tramp_image", "percpu_ref", "struct ftrace_ops")
_CALL = 8
"""Which of the recorded calls is timed: one in the middle."""

Ages = tuple[int, int, int, int]

_MISPREDICTS = ("conditional_mispredicts", "indirect_mispredicts", "return_mispredicts")


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


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call in one pair of levels: cycles, misses by (kind, where found), mispredicts."""

    cycles: float
    misses: Mapping[tuple[str, str], int]
    mispredicts: int


class Warmth:
    """Costs for the scheduler, and what they stand for: found when they are first needed.

    `limits` are the ages (lines) up to which the levels hold, `shared` the lines that other CPUs
    use too, `transfer_cycles` what it takes to fetch one that another CPU has written.
    """

    def __init__(
        self,
        places: _Places,
        own: Mapping[str, NDArray[np.uint64]],
        shared: SharedLines,
        hot_cycles: float,
        alone: bool,
    ) -> None:
        self._places = places
        self._own = own
        self.shared = shared
        self.transfer_cycles = float(places.core.caches.remote_latency.value)
        self._alone = alone
        self._calls: dict[int, FoundCall] = {}
        self.hot_cycles = hot_cycles
        first, lower, second_tlb = places.limits()
        limits = (first, lower, second_tlb, lower)
        if not alone:
            both = _clusters(sorted({*first, *lower}))
            limits = (both, both, second_tlb, lower)
        self.limits = limits
        self._ages = [_representatives(each) for each in limits]
        self._base = places.time_alone((0, 0, 0, 0), _NONE).cycles
        self.costs = CallCosts(
            [array("q", (limit << 16 for limit in each)) for each in limits],
            self._fill,
            sum(map(len, own.values())),
            alone,
            shared.groups,
        )

    def _fill(self, cell: int) -> tuple[int, int]:
        found = self.call(cell)
        kinds = {kind for kind, _ in found.misses}
        lines = sum(n for (kind, _), n in found.misses.items() if kind.endswith("line"))
        walked = any(where == "walk" for _, where in found.misses)
        refreshed = (
            _LINES * (2 * lines > self._places.line_count)
            | _CODE_PAGES * ("code page" in kinds)
            | _TABLES * walked
        )
        return max(1, round(found.cycles * SUBCYCLES)), refreshed

    def call(self, cell: int) -> FoundCall:
        """The call that a cell of `costs` stands for, executed if it was not yet."""
        found = self._calls.get(cell)
        if found is None:
            elsewhere, *levels = self.costs.levels_of(cell)
            stolen = self.shared.written(elsewhere)
            chosen = [self._ages[age][level] for age, level in enumerate(levels)]
            ages = (chosen[0], chosen[1], chosen[2], chosen[3])
            if self._alone:
                timed = self._places.time_alone(ages, stolen)
            else:
                timed = self._places.time_among(ages, self._own, stolen)
            found = _found(timed, self.hot_cycles + timed.cycles - self._base)
            self._calls[cell] = found
        return found


_LINES, _CODE_PAGES, _TABLES = 1, 2, 4
"""`Refreshed` of `_native/warmth.pxd`."""


def _representatives(limits: Sequence[int]) -> list[int]:
    """An age in the middle of each level; the first level begins at none, the last has no end."""
    middles = [(low + 1 + high) // 2 for low, high in pairwise(limits)]
    return [0, *middles, _MOST_LINES] if limits else [0]


FIRST, LINES, SECOND_TLB = "first", "lines", "second TLB"
"""What calls refresh at different times: what every call uses (first-level caches, the data
TLB, predictors); what only fetching a line uses (L2, L3 and, behind the uop cache, the code TLB);
what only a miss of a first TLB uses."""


def displace(
    state: CoreState,
    core: Core,
    background: Background,
    lines: int,
    groups: Sequence[str] = (FIRST, LINES, SECOND_TLB),
    common: NDArray[np.uint64] = _NONE,
) -> None:
    """Let `lines` lines of the background pass through these groups of a CPU's structures.

    CPUs that share the last level pass as many, and use the `common` lines as this one does.
    """
    code = round(lines * background.code_share)
    data = lines - code
    code_pages, data_pages = (n // background.lines_per_page for n in (code, data))
    if LINES in groups:
        state.displace("l2", lines)
        if background.sharers > 1:
            state.displace("l3", (background.sharers - 1) * lines)
            state.touch("l3", common)
        state.displace("l3", lines)
    # Behind a uop cache the code TLB is asked only when a line has to be fetched and decoded.
    asked = LINES if core.front_end.uop_cache_width.value else FIRST
    if asked in groups:
        state.displace("itlb", code_pages)
    if SECOND_TLB in groups:
        state.displace("stlb", code_pages + data_pages)
        state.displace("walk caches", (code_pages + data_pages) // 16)
    if FIRST not in groups:
        return
    state.displace("code", code)
    state.displace("uops", code)
    state.displace("data", data)
    state.displace("dtlb", data_pages)
    branches = code * background.branches_per_line
    kept = core.branches
    if branches >= 1:
        state.evict("history")
    if branches > int(kept.fast_btb_entries.value) + int(kept.main_btb_entries.value):
        state.evict("upper btb")
    if branches > 2 * int(kept.main_btb_entries.value) + 8192:
        state.evict("btb")


def measure_warmth(
    world: TracedWorld,
    core: Core,
    background: Background,
    hot_cycles: float,
    alone: bool = True,
    migrating: bool = False,
) -> Warmth:
    """What a world's call costs by what it finds; raises what timing raises.

    `hot_cycles` is what a call costs back to back, to which each state's surcharge is added.
    `alone`: no other function is traced; `migrating`: threads move between CPUs. The world must
    have been run before, so that its maps hold their entries.
    """
    trace = world.run(2 * _CALL).trace
    assert trace is not None
    timer = CallTimer(trace, core)
    timer.warm()
    footprint = footprint_of(timer.prepared, trace.pages, _CALL)
    shared = shared_lines(world, footprint, migrating)
    places = _Places(timer, core, background, footprint, shared.common)
    return Warmth(places, _own_lines(world, footprint), shared, hot_cycles, alone)


class _Places:
    """A call's lines on a CPU whose caches the background has passed through."""

    def __init__(
        self,
        timer: CallTimer,
        core: Core,
        background: Background,
        footprint: Footprint,
        common: NDArray[np.uint64],
    ) -> None:
        self.timer = timer
        self.core = core
        self.background = background
        self.footprint = footprint
        self.common = common
        self._hot = timer.state.copy()

    def _heat(self) -> None:
        """Everything in the first level, as after a call that had to fetch it all.

        The last level is no part of a copy; pages that are walked bring their tables in.
        """
        state = self.timer.state
        state.restore(self._hot)
        for structure in ("l3", "itlb", "dtlb", "stlb", "walk caches"):
            state.evict(structure)
        for kind, addresses in self.footprint.kinds():
            state.touch(kind, addresses)
        self.timer.time(_CALL)

    @property
    def line_count(self) -> int:
        """Lines of code and data that a call touches."""
        return len(self.footprint.code_lines) + len(self.footprint.data_lines)

    def limits(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Ages after which something is elsewhere than before, ascending.

        Of first-level structures and predictors; of L2 and L3; of the second TLB.
        """
        state, background = self.timer.state, self.background

        def first(lines: int) -> object:
            self._heat()
            displace(state, self.core, background, lines, (FIRST,))
            changed = lines * background.code_share * background.branches_per_line >= 1
            return signature(state, self.footprint), changed

        def lower(lines: int) -> object:
            self._heat()
            for structure in ("code", "data"):
                state.evict(structure)
            displace(state, self.core, background, lines, (LINES,), self.common)
            kinds = dict(self.footprint.kinds())
            return [state.levels(kind, kinds[kind]) for kind in ("code", "data", "code page")]

        def second_tlb(lines: int) -> object:
            self._heat()
            for structure in ("itlb", "dtlb"):
                state.evict(structure)
            displace(state, self.core, background, lines, (SECOND_TLB,))
            kinds = dict(self.footprint.kinds())
            found = (state.levels(kind, kinds[kind]) for kind in ("code page", "data page"))
            return [[level > 2 for level in levels] for levels in found]

        one, two, three = (_clusters(_all_changes(key)) for key in (first, lower, second_tlb))
        return one, two, three[:1]

    def _age_tables(self, lines: int) -> None:
        """Displace what a walk reads, and only that, from L2 and L3."""
        if lines <= 0:
            return
        state = self.timer.state
        state.displace("l2", lines)
        state.displace("l3", lines)
        state.evict("walk caches")
        for kind, addresses in self.footprint.kinds():
            if kind in ("code", "data"):
                state.drop(addresses)
                state.touch(kind, addresses)
        state.touch("uops", self.footprint.code_lines)

    def _lose_code_pages(self) -> None:
        """Code pages are known to the first TLB only."""
        state = self.timer.state
        state.evict("stlb")
        state.touch("data page", self.footprint.data_pages)

    def time_alone(self, ages: Ages, stolen: NDArray[np.uint64]) -> TimedCall:
        """One call after the ages that `_native/warmth.pyx` describes for one function."""
        first, lines, code_pages, tables = ages
        self._heat()
        state = self.timer.state
        if code_pages:
            self._lose_code_pages()
        self._age_tables(tables - lines)
        displace(state, self.core, self.background, lines, (LINES,), self.common)
        displace(state, self.core, self.background, first, (FIRST, SECOND_TLB))
        if len(stolen):
            state.steal(stolen)
        return self.timer.time(_CALL)

    def time_among(
        self, ages: Ages, own: Mapping[str, NDArray[np.uint64]], stolen: NDArray[np.uint64]
    ) -> TimedCall:
        """One call after the ages that `_native/warmth.pyx` describes for many functions."""
        shared_age, own_age, code_pages, tables = ages
        self._heat()
        state = self.timer.state
        if code_pages:
            self._lose_code_pages()
        self._age_tables(tables - max(shared_age, own_age))
        older = max(shared_age, own_age) - min(shared_age, own_age)
        displace(state, self.core, self.background, older, common=self.common)
        if older:
            for kind, addresses in self.footprint.kinds():
                mine = np.isin(addresses, own.get(kind, _NONE))
                newer = addresses[mine if own_age < shared_age else ~mine]
                state.touch(kind, np.ascontiguousarray(newer))
        younger = min(shared_age, own_age)
        displace(state, self.core, self.background, younger, common=self.common)
        if len(stolen):
            state.steal(stolen)
        return self.timer.time(_CALL)


def _changes(key: Callable[[int], object], low: int, high: int) -> list[int]:
    """Last values before `key` changes, between two at which it is known."""
    if key(low) == key(high):
        return []
    if high - low <= max(1, low // 64):
        return [low]
    middle = (low + high) // 2
    return _changes(key, low, middle) + _changes(key, middle, high)


def _all_changes(key: Callable[[int], object]) -> list[int]:
    """Ages after which `key` changes, found by bisection between powers of the root of 2."""
    known: dict[int, object] = {}

    def remembered(lines: int) -> object:
        if lines not in known:
            known[lines] = key(lines)
        return known[lines]

    grid = sorted({0, *(round(2 ** (step / 2)) for step in range(61)), _MOST_LINES})
    return [change for low, high in pairwise(grid) for change in _changes(remembered, low, high)]


def _clusters(limits: Sequence[int]) -> tuple[int, ...]:
    """First and last limit of each cluster: lines of a level go set by set, in quick succession."""
    clusters: list[list[int]] = []
    for limit in limits:
        if clusters and limit <= clusters[-1][0] + clusters[-1][0] // 8:
            clusters[-1].append(limit)
        else:
            clusters.append([limit])
    return tuple(sorted({edge for cluster in clusters for edge in (cluster[0], cluster[-1])}))


def _found(call: TimedCall, cycles: float) -> FoundCall:
    misses = Counter((miss.kind, miss.found) for miss in call.misses)
    events = dict(zip(EVENTS, call.events, strict=True))
    return FoundCall(
        max(cycles, 1.0),
        MappingProxyType(dict(misses)),
        sum(events[name] for name in _MISPREDICTS),
    )


def _own_lines(world: TracedWorld, footprint: Footprint) -> dict[str, NDArray[np.uint64]]:
    """The footprint's addresses that belong to one traced function, by kind."""
    memory = world.guest.memory
    ranges = [(world.target.address - 16, world.target.address + 256)]
    if world.image is not None:
        ranges.append((world.image.address, world.image.address + len(world.image.code)))

    def is_own(kind: str, address: int) -> bool:
        if kind in ("code", "uops", "branch"):
            return any(low <= address + LINE - 1 and address < high for low, high in ranges)
        if kind == "data":
            return any(
                memory.name_at(at).startswith(_OWN_BLOCKS)
                for at in range(address, address + LINE, 8)
            )
        return False

    return {
        kind: np.array([a for a in addresses.tolist() if is_own(kind, a)], dtype=np.uint64)
        for kind, addresses in footprint.kinds()
        if kind != "uops"
    }
