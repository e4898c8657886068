"""Starting states of a call: what of a core's caches, TLBs and predictors it finds.

The caller is running in each of them: the line of code that it calls from, the top of its
stack and their pages are there; other code and data have displaced the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tramposim._native.corestate import CoreState
from tramposim.errors import InputError
from tramposim.timing.footprint import Footprint

__all__ = ["STATES", "apply_state", "bring", "check_state", "signature"]

_CODE = ("code", "uops", "itlb", "upper btb", "history")
_DATA = ("data",)
_TLBS = ("dtlb", "stlb", "walk caches")
_LINES = ("code", "uops", "data", "l2", "l3")

_EVICTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "hot": (),
        "cold-code": _CODE,
        "cold-data": _DATA,
        "cold-tlb": (*_DATA, *_TLBS),
        "cold-core": (*_CODE, *_DATA, *_TLBS),
        "cold": _LINES,
        "first": (*_LINES, *_TLBS, "itlb", "predictors"),
    }
)

STATES: Mapping[str, str] = MappingProxyType(
    {
        "hot": "calls back to back, everything in the first level",
        "cold-code": "code in L2, uop cache lost, branches in the last level of the BTB",
        "cold-data": "data in L2",
        "cold-tlb": "data TLBs and paging-structure caches lost, data and page tables in L2",
        "cold-core": "cold-code and cold-tlb together",
        "cold": "every line of code and data in memory, TLBs and branch targets kept",
        "first": "every line in memory (page tables too), TLBs and all predictors lost",
    }
)
"""What is where when a call begins, by the name of the state."""


def check_state(name: str) -> None:
    """Raises `InputError` listing the known states if `name` is none."""
    if name not in STATES:
        raise InputError(f"unknown starting state {name!r}; known: {', '.join(STATES)}")


def apply_state(
    state: CoreState, name: str, code: NDArray[np.uint64], data: NDArray[np.uint64]
) -> None:
    """Bring `state` from hot to the starting state `name`.

    `code` and `data` are addresses that stay, because the caller uses them.
    """
    evicted = _EVICTED[name]
    for structure in evicted:
        state.evict(structure)
    if evicted:
        for kind, addresses in (("code", code), ("data", data)):
            state.touch(kind, addresses)
            state.touch(f"{kind} page", addresses)


def signature(state: CoreState, footprint: Footprint) -> bytes:
    """Where everything that a call touches is: equal signatures, equal misses.

    One byte per line, page and branch of the footprint, in its order; hashable. History of
    branches and the ages of lines are not part of it.
    """
    return b"".join(state.levels(kind, addresses) for kind, addresses in footprint.kinds())


def bring(state: CoreState, footprint: Footprint) -> None:
    """Leave `state` as a call with this footprint leaves it: all that it touches is there."""
    for kind, addresses in footprint.kinds():
        state.touch(kind, addresses)
