"""Loads and stores of compiled code beside those of the interpreter."""

from __future__ import annotations

from collections.abc import Iterator

from tramposim.machine.rules.coderun import CodeRun
from tramposim.machine.rules.inputs import Pages
from tramposim.machine.rules.invocations import Invocations
from tramposim.machine.rules.parting import Differs
from tramposim.machine.rules.probe import STACK_SIZE
from tramposim.machine.rules.rule import Rule
from tramposim.machine.trace import STORE

__all__ = ["Store", "compare_loads", "compare_stores"]

Store = tuple[int, int, bool]
"""(address, bytes, whether code may leave it out) of a store of the interpreter."""


def compare_loads(code: CodeRun, pages: Pages) -> None:
    """The code reads memory only where the interpreter does: elsewhere it may fault."""
    probe, known = code.probe, pages.read_words
    low, high = probe.stack_base, probe.stack_base + STACK_SIZE
    counter = code.program.depth & code.mask & -8
    for segment in probe.segments:
        loads = segment.accesses[(segment.accesses["flags"] & STORE) == 0]
        for address, index, _, _ in loads.tolist():
            place = address & code.mask & -8
            if low <= address < high or place in known or place == counter != 0:
                continue
            raise Differs(
                Rule.MEMORY, int(segment.pcs[index]),
                f"reads {address:#x}, which the interpreter does not",
            )  # fmt: skip


def compare_stores(code: CodeRun, calls: Invocations, stores: list[Store]) -> None:
    """Other CPUs see every store: the code makes those of the interpreter, in its order.

    A compare-and-exchange that fails stores the old value on x86_64, and may elsewhere.
    """
    if not len(calls.owners):
        low = code.probe.stack_base & code.mask
        high = low + STACK_SIZE
        stores = [store for store in stores if not low <= store[0] < high]
    # How many of the interpreter's may have been made: some need not be, so there are several.
    done = {0}
    for place, size, pc in _made(code, calls):
        following = {at + 1 for at in _reachable(done, stores) if stores[at][:2] == (place, size)}
        if not following:
            expected = stores[max(done)] if max(done) < len(stores) else None
            what = "nothing" if expected is None else f"{expected[1]} at {expected[0]:#x}"
            raise Differs(
                Rule.STORES, pc, f"stores {size} bytes at {place:#x}, the interpreter {what}"
            )
        done = following
    for store in stores[max(done) :]:
        if not store[2]:
            raise Differs(
                Rule.STORES, code.program.addresses[0],
                f"does not store {store[1]} bytes at {store[0]:#x}, as the interpreter does",
            )  # fmt: skip


def _reachable(done: set[int], stores: list[Store]) -> set[int]:
    """Which of the interpreter's stores may be the next one of the code."""
    found = set()
    for at in done:
        while at < len(stores) and at not in found:
            found.add(at)
            if not stores[at][2]:
                break
            at += 1
    return found


def _made(code: CodeRun, calls: Invocations) -> Iterator[tuple[int, int, int]]:
    """(place, bytes, instruction) of the code's stores outside of the stack, and to the eBPF
    frames of the functions that are running."""
    probe = code.probe
    low, high = probe.stack_base, probe.stack_base + STACK_SIZE
    counter = code.program.depth & code.mask
    frames = _Frames(code, calls)
    start = 0
    for segment in probe.segments:
        made = segment.accesses[(segment.accesses["flags"] & STORE) != 0]
        for address, index, size, _ in made.tolist():
            place = address & code.mask
            if low <= address < high:
                if len(calls.owners) and frames.holds(int(calls.owners[start + index]), address):
                    yield place, size, int(segment.pcs[index])
            elif place != counter or not counter:
                yield place, size, int(segment.pcs[index])
        start += len(segment.pcs)


class _Frames:
    """The eBPF frames on the stack that a call of a function may write."""

    def __init__(self, code: CodeRun, calls: Invocations) -> None:
        self._calls = calls
        depths = [function.stack_depth for function in code.program.functions]
        self._ranges = [
            (frame - depths[function], frame)
            for frame, function in zip(calls.frames, calls.functions, strict=True)
        ]

    def holds(self, call: int, address: int) -> bool:
        """Whether the address lies in the frame of a call, or of one that it was made in."""
        while True:
            low, high = self._ranges[call]
            if low <= address < high:
                return True
            if not call:
                return False
            call = self._calls.callers[call]
