"""Rules about memory: no access below the stack pointer, no store outside of what is allowed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tramposim.machine.rules.probe import Probe, Segment
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.machine.trace import STORE

__all__ = ["check_accesses"]


def check_accesses(
    probe: Probe,
    segments: Sequence[Segment],
    writable: Sequence[tuple[int, int]],
    path: str,
) -> Iterator[Violation]:
    """Violations of a path's segments; `writable` are the ranges (begin, end) for stores.

    An access lies below the stack pointer if it does so both before and after its
    instruction: a push moves the pointer with the store.
    """
    for segment in segments:
        if segment.stack is not None:
            low, high = np.uint64(probe.stack_base), np.uint64(probe.stack_top)
            away = (segment.stack < low) | (segment.stack > high)
            for which in np.flatnonzero(away)[:1]:
                yield _violation(
                    probe, Rule.STACK_BALANCE, segment, max(int(which) - 1, 0),
                    f"leaves the stack: the stack pointer is {int(segment.stack[which]):#x}", path,
                )  # fmt: skip
        accesses = segment.accesses
        if not len(accesses):
            continue
        address = accesses["address"].astype(np.uint64)
        index = accesses["insn"]
        stores = (accesses["flags"] & STORE) != 0
        fine = np.zeros(len(accesses), bool)
        for begin, end in writable:
            last = address + accesses["size"].astype(np.uint64)
            fine |= (address >= np.uint64(begin)) & (last <= np.uint64(end))
        for which in np.flatnonzero(stores & ~fine)[:1]:
            yield _violation(
                probe, Rule.FRAME_WRITES, segment, index[which],
                f"stores {accesses['size'][which]} bytes at {int(address[which]):#x}", path,
            )  # fmt: skip
        if segment.stack is None:
            continue
        after = np.append(segment.stack[1:], np.uint64(segment.stack_behind))
        lowest = np.minimum(segment.stack, after)[index]
        near = (address >= np.uint64(probe.stack_base)) & (address < np.uint64(probe.stack_top))
        for which in np.flatnonzero(near & (address < lowest))[:1]:
            distance = int(lowest[which]) - int(address[which])
            yield _violation(
                probe, Rule.RED_ZONE, segment, index[which],
                f"accesses {distance} bytes below the stack pointer", path,
            )  # fmt: skip


def _violation(
    probe: Probe, rule: Rule, segment: Segment, index: int, detail: str, path: str
) -> Violation:
    address = int(segment.pcs[int(index)])
    return Violation(rule, address, detail, probe.listing.text(address), path)
