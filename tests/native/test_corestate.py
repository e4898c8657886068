"""Caches, TLBs and the states of a core against references made from their definitions."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tramposim._native.corestate import CoreState, LastLevel
from tramposim.timing import load_core
from tramposim.timing.decode import parameters

LINE = 64
LRU, TREE_PLRU = 0, 1


def _params(**changes: int) -> dict[str, Any]:
    return parameters(load_core("golden-cove")) | changes


def _addresses(lines: Iterable[int], size: int = LINE) -> NDArray[np.uint64]:
    return np.array([line * size for line in lines], dtype=np.uint64)


def _in_first(state: CoreState, line: int) -> bool:
    return state.levels("data", _addresses([line]))[0] == 1


def _small(policy: int = LRU, kib: int = 1, ways: int = 4) -> CoreState:
    """A core whose first-level data cache has 16 lines per KiB."""
    return CoreState(_params(data_l1_kib=kib, data_l1_ways=ways, l1_policy=policy))


@pytest.mark.parametrize("ways", [1, 2, 4, 8, 16])
def test_lru_holds_what_has_a_stack_distance_below_the_ways(ways: int) -> None:
    # Mattson et al. 1970: a line is there if fewer than `ways` others of its set came since
    sets = 16 // ways
    state, random_lines = _small(ways=ways), random.Random(1)
    stacks: list[list[int]] = [[] for _ in range(sets)]
    for _ in range(2000):
        line = random_lines.randrange(60)
        stack = stacks[line % sets]
        distance = stack.index(line) if line in stack else len(stack) + 60
        assert _in_first(state, line) == (distance < ways)
        if line in stack:
            stack.remove(line)
        stack.insert(0, line)
        state.touch("data", _addresses([line]))


def test_tree_plru_replaces_where_its_bits_point() -> None:
    # one set of four ways: bits (root, left, right) point to the half not used last
    state = _small(TREE_PLRU, kib=1, ways=4)
    same_set = [4 * number for number in range(100)]
    held: list[int | None] = [None] * 4
    root = left = right = 0
    choose = random.Random(2)
    for _ in range(2000):
        line = same_set[choose.randrange(7)]
        assert _in_first(state, line) == (line in held)
        if line in held:
            way = held.index(line)
        elif None in held:
            way = held.index(None)
        else:
            way = (2 + right) if root else left
        held[way] = line
        if way < 2:
            root, left = 1, 1 - way
        else:
            root, right = 0, 3 - way
        state.touch("data", _addresses([line]))


@pytest.mark.parametrize("foreign", [0, 1, 7, 16, 40, 63, 64, 65, 200])
def test_lines_that_others_displace_are_those_that_real_lines_would(foreign: int) -> None:
    # 16 sets of 4 ways; the same number of foreign lines entered one by one, spread evenly
    ours = list(range(48))
    counted, entered = (_small(kib=4, ways=4) for _ in range(2))
    for state in (counted, entered):
        state.touch("data", _addresses(ours))
    counted.displace("data", foreign)
    entered.touch("data", _addresses(1600 + number for number in range(foreign)))
    counted_here, entered_here = (
        state.levels("data", _addresses(ours)).count(1) for state in (counted, entered)
    )
    assert counted_here == entered_here


def test_levels_follow_what_is_lost() -> None:
    state = CoreState(_params())
    where = _addresses([1000])
    assert list(state.levels("data", where)) == [4]
    state.touch("data", where)
    found = []
    for structure in ("data", "l2", "l3"):
        found += state.levels("data", where)
        state.evict(structure)
    assert [*found, *state.levels("data", where)] == [1, 2, 3, 4]
    state.touch("data", where)
    state.steal(where)
    assert list(state.levels("data", where)) == [5]
    state.touch("data", where)
    state.drop(where)
    assert list(state.levels("data", where)) == [4]


def test_pages_of_each_size_go_to_their_own_tlbs() -> None:
    ranges = [(1 << 40, 2 << 40, 21), (2 << 40, 3 << 40, 30)]
    state = CoreState(_params(), ranges)
    small = _addresses(range(96), 4096)
    large = _addresses(range(32), 1 << 21) + np.uint64(1 << 40)
    huge = _addresses(range(8), 1 << 30) + np.uint64(2 << 40)
    for pages in (small, large, huge):
        state.touch("data page", pages)
    # golden-cove's first-level TLB holds 96 + 32 + 8 pages at once
    for pages in (small, large, huge):
        assert set(state.levels("data page", pages)) == {1}
    state.touch("data page", _addresses(range(96, 192), 4096))
    assert set(state.levels("data page", small)) == {2}
    assert set(state.levels("data page", large)) == {1}
    state.evict("stlb")
    # a walk: its last table entries are where the first walks brought them
    assert min(state.levels("data page", small)) >= 3
    # another address of the same page is the same translation
    assert set(state.levels("data page", large + np.uint64(12345))) == {1}


def test_a_copy_holds_the_same_and_lives_its_own_life() -> None:
    state = CoreState(_params(), [(1 << 40, 2 << 40, 21)])
    lines = _addresses(range(0, 5000, 7))
    for kind in ("data", "code", "data page", "branch", "uops"):
        state.touch(kind, lines)
    other = state.copy()
    kinds = ("data", "code", "data page", "code page", "branch", "uops")
    before = [state.levels(kind, lines) for kind in kinds]
    assert [other.levels(kind, lines) for kind in kinds] == before
    for structure in ("data", "code", "dtlb", "btb", "uops"):
        other.evict(structure)
    assert [state.levels(kind, lines) for kind in kinds] == before
    assert [other.levels(kind, lines) for kind in kinds] != before
    other.restore(state)
    assert [other.levels(kind, lines) for kind in kinds] == before


def test_cpus_share_the_last_level_only() -> None:
    params = _params()
    shared = LastLevel(params)
    one, two = (CoreState(params, last_level=shared) for _ in range(2))
    where = _addresses([77])
    one.touch("data", where)
    assert list(one.levels("data", where)) == [1]
    assert list(two.levels("data", where)) == [3]


def test_what_makes_no_structure_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of its ways"):
        CoreState(_params(data_l1_ways=5))
    with pytest.raises(ValueError, match="page ranges"):
        CoreState(_params(), [(8192, 4096, 12)])
    with pytest.raises(ValueError, match="no structure"):
        CoreState(_params()).evict("l4")
    with pytest.raises(ValueError, match="no kind"):
        CoreState(_params()).levels("page", _addresses([1]))
