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
from tramposim.timing import Core
from tramposim.timing.calls import CallTimer, TimedCall
from tramposim.timing.footprint import Footprint, footprint_of
from tramposim.timing.states import signature

__all__ = ["Background", "FoundCall", "Warmth", "displace", "measure_warmth"]

LINE = 64
_MOST_LINES = 1 << 30
"""More than any cache holds: an age at which nothing is left."""

_OWN_BLOCKS = ("struct bpf_tramp_image", "percpu_ref", "struct ftrace_ops")
_CALL = 8
"""Which of the recorded calls is timed: one in the middle."""

_MISPREDICTS = ("conditional_mispredicts", "indirect_mispredicts", "return_mispredicts")


@dataclass(frozen=True, slots=True)
class Background:
    """What runs between the calls, as the caches see it.

    `lines_per_s` distinct lines of 64 bytes pass through a second, of a working set of
    `footprint` bytes; `code_share` of them are code. A page is left after `lines_per_page`
    lines, and a line of code holds `branches_per_line` taken branches.
    """

    lines_per_s: float = 0.0
    footprint: int = 0
    code_share: float = 0.4
    lines_per_page: int = 8
    branches_per_line: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.lines_per_s <= 1e12 or not 0 <= self.footprint <= 1 << 40:
            raise InputError("a background passes 0 to 1e12 lines per second, of at most 1 TiB")
        if not 0 <= self.code_share <= 1 or not 1 <= self.lines_per_page <= 64:
            raise InputError("code_share is 0 to 1, lines_per_page 1 to 64")
        if not 0 <= self.branches_per_line <= 16:
            raise InputError("branches_per_line is 0 to 16")


@dataclass(frozen=True, slots=True)
class FoundCall:
    """A call in one pair of levels: cycles, misses by (kind, where found), mispredicts."""

    cycles: float
    misses: Mapping[tuple[str, str], int]
    mispredicts: int


class Warmth:
    """Costs for the scheduler, and what they stand for: found when they are first needed.

    `limits` are the ages (lines) up to which the levels hold, `contended_lines` the number of
    lines that calls on every CPU write.
    """

    def __init__(
        self,
        places: _Places,
        own: Mapping[str, NDArray[np.uint64]],
        contended: NDArray[np.uint64],
        hot_cycles: float,
        alone: bool,
    ) -> None:
        self._places = places
        self._own = own
        self._contended = contended
        self._alone = alone
        self._calls: dict[int, FoundCall] = {}
        self.hot_cycles = hot_cycles
        self.contended_lines = len(contended)
        self.limits = places.limits()
        self._ages = _representatives(self.limits)
        self._base = places.time_alone(0, 0, 0, _NONE).cycles
        missing = walking = len(self._ages)
        for level, age in reversed(list(enumerate(self._ages))):
            found = places.time_alone(age, age, age, _NONE)
            kinds = {(miss.kind.split()[-1], miss.found) for miss in found.misses}
            missing = level if any(kind == "line" for kind, _ in kinds) else missing
            walking = level if ("page", "walk") in kinds else walking
        self.costs = CallCosts(
            array("q", (limit << 16 for limit in self.limits)),
            lambda cell: max(1, round(self.call(cell).cycles * SUBCYCLES)),
            sum(map(len, own.values())),
            alone,
            missing,
            walking,
        )

    def call(self, cell: int) -> FoundCall:
        """The call that a cell of `costs` stands for, executed if it was not yet."""
        found = self._calls.get(cell)
        if found is None:
            rest, third = divmod(cell, self.costs.levels)
            rest, second = divmod(rest, self.costs.levels)
            elsewhere, first = divmod(rest, self.costs.levels)
            stolen = self._contended if elsewhere else _NONE
            ages = (self._ages[first], self._ages[second], self._ages[third])
            if self._alone:
                timed = self._places.time_alone(*ages, stolen)
            else:
                timed = self._places.time_among(*ages, self._own, stolen)
            found = _found(timed, self.hot_cycles + timed.cycles - self._base)
            self._calls[cell] = found
        return found


_NONE = np.zeros(0, np.uint64)


def _representatives(limits: Sequence[int]) -> list[int]:
    """An age in the middle of each level; the first level begins at none, the last has no end."""
    middles = [(low + 1 + high) // 2 for low, high in pairwise(limits)]
    return [0, *middles, _MOST_LINES] if limits else [0]


def displace(
    state: CoreState, core: Core, background: Background, lines: int, first_level: bool = True
) -> None:
    """Let `lines` lines of the background pass through a CPU.

    Without `first_level` only through what first-level hits do not refresh: L2, L3, the second
    TLB and the paging-structure caches.
    """
    code = round(lines * background.code_share)
    data = lines - code
    code_pages, data_pages = (n // background.lines_per_page for n in (code, data))
    state.displace("l2", lines)
    state.displace("l3", lines)
    state.displace("stlb", code_pages + data_pages)
    state.displace("walk caches", (code_pages + data_pages) // 16)
    if not first_level:
        return
    state.displace("code", code)
    state.displace("uops", code)
    state.displace("data", data)
    state.displace("itlb", code_pages)
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
    world: TracedWorld, core: Core, background: Background, hot_cycles: float, alone: bool = True
) -> Warmth:
    """What a world's call costs by what it finds; raises what timing raises.

    `hot_cycles` is what a call costs back to back, to which each state's surcharge is added.
    `alone`: no other function is traced. The world must have been run before, so that its maps
    hold their entries.
    """
    trace = world.run(2 * _CALL).trace
    assert trace is not None
    timer = CallTimer(trace, core)
    timer.warm()
    places = _Places(timer, core, background, footprint_of(timer.prepared, trace.pages, _CALL))
    own = _own_lines(world, places.footprint)
    return Warmth(places, own, _contended(world, places.footprint), hot_cycles, alone)


class _Places:
    """A call's lines on a CPU whose caches the background has passed through."""

    def __init__(
        self, timer: CallTimer, core: Core, background: Background, footprint: Footprint
    ) -> None:
        self.timer = timer
        self.core = core
        self.background = background
        self.footprint = footprint
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

    def _key(self, lines: int) -> tuple[bytes, bool]:
        self._heat()
        displace(self.timer.state, self.core, self.background, lines)
        changed = lines * self.background.code_share * self.background.branches_per_line >= 1
        return signature(self.timer.state, self.footprint), changed

    def limits(self) -> tuple[int, ...]:
        """Ages after which something is elsewhere than before, ascending."""
        keys: dict[int, tuple[bytes, bool]] = {}

        def key(lines: int) -> tuple[bytes, bool]:
            if lines not in keys:
                keys[lines] = self._key(lines)
            return keys[lines]

        grid = sorted({0, *(round(2 ** (step / 2)) for step in range(61))} | {_MOST_LINES})
        found: list[int] = []
        for low, high in pairwise(grid):
            found += _changes(key, low, high)
        return _spread(found)

    def _age_tables(self, lines: int) -> None:
        """Displace what a walk reads, and only that, from L2 and L3."""
        if lines <= 0:
            return
        state = self.timer.state
        state.displace("l2", lines)
        state.displace("l3", lines)
        for kind, addresses in self.footprint.kinds():
            if kind in ("code", "data"):
                state.drop(addresses)
                state.touch(kind, addresses)
        state.touch("uops", self.footprint.code_lines)

    def time_alone(
        self, age: int, lower_age: int, tables_age: int, stolen: NDArray[np.uint64]
    ) -> TimedCall:
        """One call `age` lines after the last, `lower_age` after the last that missed a line,
        `tables_age` after the last that walked page tables."""
        self._heat()
        state = self.timer.state
        lower_age = max(age, lower_age)
        self._age_tables(tables_age - lower_age)
        displace(state, self.core, self.background, lower_age - age, first_level=False)
        displace(state, self.core, self.background, age)
        if len(stolen):
            state.steal(stolen)
        return self.timer.time(_CALL)

    def time_among(
        self,
        shared_age: int,
        own_age: int,
        tables_age: int,
        own: Mapping[str, NDArray[np.uint64]],
        stolen: NDArray[np.uint64],
    ) -> TimedCall:
        """One call that finds what is shared, what is its own, and tables at these ages."""
        self._heat()
        state = self.timer.state
        self._age_tables(tables_age - max(shared_age, own_age))
        older = max(shared_age, own_age) - min(shared_age, own_age)
        displace(state, self.core, self.background, older)
        if older:
            for kind, addresses in self.footprint.kinds():
                mine = np.isin(addresses, own.get(kind, _NONE))
                newer = addresses[mine if own_age < shared_age else ~mine]
                state.touch(kind, np.ascontiguousarray(newer))
        displace(state, self.core, self.background, min(shared_age, own_age))
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


def _spread(limits: Sequence[int]) -> tuple[int, ...]:
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


def _contended(world: TracedWorld, footprint: Footprint) -> NDArray[np.uint64]:
    """Lines that calls on every CPU write: values of plain arrays, atomic references."""
    arrays = {
        f"map {name}"
        for name, placed in world.guest.maps.items()
        if placed.map.type.value == "array"
    }
    memory = world.guest.memory
    lines = [
        line
        for line in footprint.written_lines.tolist()
        if any(
            memory.name_at(at) in {*arrays, "percpu_ref_data"} for at in range(line, line + LINE, 8)
        )
    ]
    return np.array(lines, dtype=np.uint64)
