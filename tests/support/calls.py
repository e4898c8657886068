"""CPUs whose calls cost what is given, in place of a core model's."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np

from tramposim._native.callcosts import CallCosts
from tramposim._native.callpath import CallPath
from tramposim._native.corestate import CoreState
from tramposim._native.cpucalls import CpuCalls
from tramposim._native.warmth import CallsOf, Passing
from tramposim.timing import load_core
from tramposim.timing.decode import parameters

PARAMETERS = parameters(load_core("golden-cove"))

Execute = Callable[[CoreState, int, int, bool], tuple[float, int]]


def path_of(code: int = 0, data: int = 0, own: int = 0, at: int = 0xFFFFFFFF81000000) -> CallPath:
    """A call of so many lines of code and data, one behind the other, and of `own` more lines of
    data in region 1."""
    places = [(0, at + 64 * k, 0) for k in range(code)]
    places += [(1, at + (1 << 24) + 64 * k, 0) for k in range(data)]
    places += [(1, at + (1 << 26) + 64 * k, 1) for k in range(own)]
    kinds, addresses, regions = zip(*places, strict=True) if places else ((), (), ())
    pages = [address >> 12 & 0xFFF for address in addresses]
    return CallPath(
        np.array(kinds, np.uint8),
        np.array(addresses, np.uint64),
        np.array(pages, np.int32),
        np.array(regions, np.uint8),
        np.zeros(len(places), np.uint8),
    )


def costs_of(path: CallPath, execute: Execute, tolerance: float = 0.002) -> CallCosts:
    """Costs of a path whose region 1 is a function's: 4,096 bytes and a line apart."""
    moves = np.zeros(2, np.int64), np.array([0, 4160], np.int64), np.zeros(2, np.int64)
    return CallCosts(path, execute, moves, np.zeros((0, 3), np.int64), tolerance)


def cpu_of(
    costs: CallCosts,
    number: int = 0,
    *,
    rate: int = 0,
    footprint: int = 1 << 20,
    functions: int = 1,
    depth: int = 1,
    fanout: int = 1,
    recursion: float = 0.0,
    full: bool = False,
    log: int = 0,
) -> CpuCalls:
    """A CPU through whose caches `rate` lines per 2**48 subcycles pass between the calls."""
    one = 1 << 16
    shares = [one * 2 // 5, one * 3 // 5, one // 16, one * 2 // 5, one // 20, one, one // 8, 512]
    passing = Passing(rate, footprint, shares, one // 3, 8320, 20608)
    traced, untraced = (
        CallsOf(costs, CoreState(PARAMETERS), passing, number, 1, functions == 1, each)
        for each in (full, False)
    )
    chances = array("Q", [(1 << 64) - 1] * functions)
    aliases = array("i", range(functions))
    return CpuCalls(
        traced, untraced, passing, chances, aliases, 1, depth, 1, number, fanout, recursion, log
    )


def idle_cpus(count: int) -> list[CpuCalls]:
    """CPUs whose calls touch nothing and take 100 cycles."""
    costs = costs_of(path_of(), lambda *_: (100.0, 0))
    return [cpu_of(costs, cpu) for cpu in range(count)]
