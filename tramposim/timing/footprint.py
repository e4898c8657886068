"""What a call touches: lines, pages and branches, the places that it may find cold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.machine.trace import STORE, PageRange
from tramposim.timing.prepare import PreparedTrace

__all__ = ["Footprint", "footprint_of"]

_LINE = np.uint64(6)
_SMALL = 12


@dataclass(frozen=True, slots=True)
class Footprint:
    """Distinct addresses that one call touches, each array ascending.

    Lines of 64 bytes and pages (of the sizes that memory is mapped with) by the address at
    which they start, branches that were taken by their own.
    """

    code_lines: NDArray[np.uint64]
    data_lines: NDArray[np.uint64]
    written_lines: NDArray[np.uint64]
    code_pages: NDArray[np.uint64]
    data_pages: NDArray[np.uint64]
    branches: NDArray[np.uint64]

    def kinds(self) -> Iterator[tuple[str, NDArray[np.uint64]]]:
        """(kind as `CoreState.levels` names it, addresses)."""
        yield "code", self.code_lines
        yield "data", self.data_lines
        yield "code page", self.code_pages
        yield "data page", self.data_pages
        yield "branch", self.branches
        yield "uops", self.code_lines


def footprint_of(prepared: PreparedTrace, pages: tuple[PageRange, ...], number: int) -> Footprint:
    """The footprint of call `number`."""
    order, accesses = prepared.call(number)
    insns = prepared.code.insns
    used = insns[np.unique(order)]
    starts = used["pc"]
    ends = starts + used["size"].astype(np.uint64) - np.uint64(1)
    begin = accesses["address"].astype(np.uint64)
    end = begin + np.maximum(accesses["size"], 1).astype(np.uint64) - np.uint64(1)
    writes = (accesses["flags"] & STORE) != 0
    pcs = insns["pc"][order]
    follows = pcs[:-1] + insns["size"][order[:-1]].astype(np.uint64)
    taken = (insns["branch"][order[:-1]] != 0) & (pcs[1:] != follows)
    code, data = np.concatenate([starts, ends]), np.concatenate([begin, end])
    return Footprint(
        code_lines=_blocks(code, _LINE),
        data_lines=_blocks(data, _LINE),
        written_lines=_blocks(np.concatenate([begin[writes], end[writes]]), _LINE),
        code_pages=_pages(code, pages),
        data_pages=_pages(data, pages),
        branches=np.unique(pcs[:-1][taken]),
    )


def _blocks(addresses: NDArray[np.uint64], shift: np.uint64) -> NDArray[np.uint64]:
    return np.unique(addresses >> shift << shift)


def _pages(addresses: NDArray[np.uint64], ranges: tuple[PageRange, ...]) -> NDArray[np.uint64]:
    """Starts of the pages that hold `addresses`."""
    shifts = np.full(len(addresses), _SMALL, dtype=np.uint64)
    for known in ranges:
        inside = (addresses >= np.uint64(known.start)) & (addresses < np.uint64(known.end))
        shifts[inside] = known.shift
    return np.unique(addresses >> shifts << shifts)
