"""The parts of a traced call, and what each costs.

Every executed instruction belongs to a part of the call: the calling loop, the traced
function's patched entry and what it runs through before the image (ftrace_caller), a part of
the image with all that it calls, or the original function. An instruction's cycles are those
that retirement waited for it, so that the parts' cycles sum to the call's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.kernel.image import Image
from tramposim.machine.target import Target
from tramposim.machine.trace import CodeRegion, Trace

__all__ = ["PartCost", "Places", "part_costs"]

LINE = 64
"""Bytes of a cache line on every shipped core."""

_LOOP, _ENTRY, _ORIGINAL = "calling loop", "function entry", "call original"


@dataclass(frozen=True, slots=True)
class PartCost:
    """What one part costs per call; `function` is set for what it spends in one function.

    `program` names the program that the part is about. `code_lines` and `data_lines` are the
    64-byte lines that this part is the first of the call to touch, `bytes` the machine code
    that the part holds in the image.
    """

    part: str
    function: str
    program: str
    cycles: float
    instructions: float
    uops: float
    code_lines: int
    data_lines: int
    bytes: int


class Places:
    """Tells which part of a call an address belongs to, given where the call stands."""

    def __init__(self, image: Image | None, target: Target, regions: Iterable[CodeRegion]) -> None:
        self.image = image
        self.target = target
        self.regions = sorted(regions, key=lambda region: region.address)
        self._starts = [region.address for region in self.regions]
        parts = image.parts if image else ()
        self._part_starts = [part.start for part in parts]

    def function(self, address: int) -> str:
        """Name of the code region that holds an address."""
        return self.regions[bisect_right(self._starts, address) - 1].name

    def image_part(self, address: int) -> tuple[str, str, int] | None:
        """Name, program and bytes of the image's part that an address lies in."""
        if self.image is None or not 0 <= address - self.image.address < len(self.image.code):
            return None
        part = self.image.parts[bisect_right(self._part_starts, address - self.image.address) - 1]
        return part.name, part.detail, part.end - part.start

    def walk(self, pcs: Iterable[int]) -> Iterator[tuple[str, str, int]]:
        """(part, program, bytes) of each executed address of one call, in order."""
        current = (_LOOP, "", 0)
        target = self.regions[bisect_right(self._starts, self.target.address) - 1]
        in_target = range(target.address, target.address + len(target.code))
        entered = False
        for pc in pcs:
            part = self.image_part(pc)
            if part is not None:
                current, entered = part, True
            elif pc in in_target:
                if not entered:
                    current = (_ENTRY if self.image else _ORIGINAL, "", 0)
            elif self.function(pc) == _LOOP:
                current = (_LOOP, "", 0)
            yield current


def part_costs(trace: Trace, stages: NDArray[np.void], places: Places) -> Iterator[PartCost]:
    """What each part costs, in order of execution, each followed by its functions.

    `stages` (dtype `timing.STAGES`) are those of the trace's whole calls.
    """
    first = int(trace.calls[0])
    waited = np.diff(stages["retired"], prepend=0)
    calls = trace.call_count
    totals: dict[tuple[str, str], list[float]] = {}
    facts: dict[str, tuple[str, int]] = {}
    code_seen: set[int] = set()
    data_seen: set[int] = set()
    for number in range(calls):
        begin, end = int(trace.calls[number]), int(trace.calls[number + 1])
        pcs = [int(pc) for pc in trace.pcs[begin:end]]
        data = _lines_touched(trace, begin, end) if number == 0 else {}
        for index, (pc, (part, program, size)) in enumerate(
            zip(pcs, places.walk(pcs), strict=True)
        ):
            function = "" if places.image_part(pc) else places.function(pc)
            facts.setdefault(part, (program, size))
            at = begin - first + index
            lines = {pc // LINE, (pc + 1) // LINE} - code_seen if number == 0 else set()
            code_seen |= lines
            fresh = data.get(index, set()) - data_seen
            data_seen |= fresh
            for key in {(part, ""), (part, function)}:
                sums = totals.setdefault(key, [0.0] * 5)
                sums[0] += float(waited[at])
                sums[1] += 1
                sums[2] += int(stages["uops"][at])
                sums[3] += len(lines) * calls
                sums[4] += len(fresh) * calls
    order = list(facts)
    for part, function in sorted(totals, key=lambda key: (order.index(key[0]), key[1] != "")):
        program, size = facts[part]
        if function and _alone(totals, part):
            continue
        cycles, instructions, uops, code, fresh_data = (
            value / calls for value in totals[part, function]
        )
        yield PartCost(
            part=part,
            function=function,
            program=program,
            cycles=cycles,
            instructions=instructions,
            uops=uops,
            code_lines=round(code),
            data_lines=round(fresh_data),
            bytes=0 if function else size,
        )


def _alone(totals: Iterable[tuple[str, str]], part: str) -> bool:
    """Whether a part runs through nothing but one function."""
    return len({function for name, function in totals if name == part} - {""}) == 1 and (
        part in (_LOOP, _ENTRY, _ORIGINAL)
    )


def _lines_touched(trace: Trace, begin: int, end: int) -> dict[int, set[int]]:
    """Data lines by position in the call."""
    found: dict[int, set[int]] = {}
    low, high = np.searchsorted(trace.accesses["insn"], [begin, end])
    for access in trace.accesses[low:high]:
        address, size = int(access["address"]), int(access["size"])
        lines = found.setdefault(int(access["insn"]) - begin, set())
        lines |= set(range(address // LINE, (address + max(size, 1) - 1) // LINE + 1))
    return found
