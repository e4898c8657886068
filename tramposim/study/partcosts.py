"""What the parts of a call cost: cycles of its critical path, instructions, lines, bytes.

The cycles of a part are those that the critical path spends in its instructions and those that
it calls, so that the parts' cycles sum to the call's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tramposim.machine.trace import Trace
from tramposim.study.parts import ENTRY, LOOP, ORIGINAL
from tramposim.study.path import PathLink
from tramposim.study.staged import StagedCalls

__all__ = ["PartCost", "part_costs"]

_LINE = 64


@dataclass(frozen=True, slots=True)
class PartCost:
    """What one part costs per call; `function` is set for what it spends in one function.

    `program` names the program that the part is about. `cycles` are those on the critical path,
    `groups` the same by what took them (groups of `timing.critical`). `code_lines` and
    `data_lines` are the 64-byte lines that this part is the first of the call to touch, `bytes`
    the machine code that the part holds in the image.
    """

    part: str
    function: str
    program: str
    cycles: float
    groups: Mapping[str, float]
    instructions: float
    uops: float
    code_lines: int
    data_lines: int
    bytes: int


@dataclass(slots=True)
class _Sums:
    instructions: int = 0
    uops: int = 0
    code_lines: int = 0
    data_lines: int = 0
    groups: dict[str, float] = field(default_factory=dict)


def part_costs(staged: StagedCalls, links: Iterable[PathLink]) -> Iterator[PartCost]:
    """What each part costs, in order of execution, each followed by its functions.

    `links` are those of the calls' critical path.
    """
    sums: dict[tuple[str, str], _Sums] = {}
    facts: dict[str, tuple[str, int]] = {}
    calls = staged.prepared.call_count
    for number in range(calls):
        _count(staged, number, sums, facts)
    for link in links:
        # A path may pass through what later calls do only in calls that were not counted.
        facts.setdefault(link.part, ("", 0))
        function = "" if _in_image(staged, link.function) else link.function
        for key in {(link.part, ""), (link.part, function)}:
            groups = sums.setdefault(key, _Sums()).groups
            groups[link.group] = groups.get(link.group, 0.0) + link.cycles
    order = list(facts)
    for part, function in sorted(sums, key=lambda key: (order.index(key[0]), key[1] != "")):
        if function and _alone(sums, part):
            continue
        program, size = facts[part]
        found = sums[part, function]
        yield PartCost(
            part=part,
            function=function,
            program=program,
            cycles=sum(found.groups.values(), 0.0),
            groups=found.groups,
            instructions=found.instructions / calls,
            uops=found.uops / calls,
            code_lines=found.code_lines,
            data_lines=found.data_lines,
            bytes=0 if function else size,
        )


def _in_image(staged: StagedCalls, function: str) -> bool:
    image = staged.places.image
    return image is not None and function == staged.places.function(image.address)


def _count(
    staged: StagedCalls,
    number: int,
    sums: dict[tuple[str, str], _Sums],
    facts: dict[str, tuple[str, int]],
) -> None:
    """Add a call's instructions and uops, and of the first call the lines."""
    order, _ = staged.prepared.call(number)
    uops = staged.prepared.code.insns["uops"].tolist()
    trace, places = staged.trace, staged.places
    data = _lines_touched(trace, number) if number == 0 else {}
    code_seen: set[int] = set()
    data_seen: set[int] = set()
    functions: dict[int, str] = {}
    for index, (insn, (part, program, size)) in enumerate(
        zip(order.tolist(), staged.parts(number), strict=True)
    ):
        facts.setdefault(part, (program, size))
        if insn not in functions:
            pc = staged.prepared.addresses[insn]
            functions[insn] = "" if places.image_part(pc) else places.function(pc)
        keys = {(part, ""), (part, functions[insn])}
        lines: set[int] = set()
        fresh: set[int] = set()
        if number == 0:
            pc = staged.prepared.addresses[insn]
            lines = {pc // _LINE, (pc + 1) // _LINE} - code_seen
            code_seen |= lines
            fresh = data.get(index, set()) - data_seen
            data_seen |= fresh
        for key in keys:
            found = sums.setdefault(key, _Sums())
            found.instructions += 1
            found.uops += uops[insn]
            found.code_lines += len(lines)
            found.data_lines += len(fresh)


def _alone(sums: Iterable[tuple[str, str]], part: str) -> bool:
    """Whether a part runs through nothing but one function."""
    return len({function for name, function in sums if name == part} - {""}) == 1 and (
        part in (LOOP, ENTRY, ORIGINAL)
    )


def _lines_touched(trace: Trace, number: int) -> dict[int, set[int]]:
    """Data lines by position in the call."""
    begin, end = int(trace.calls[number]), int(trace.calls[number + 1])
    found: dict[int, set[int]] = {}
    low, high = np.searchsorted(trace.accesses["insn"], [begin, end])
    for access in trace.accesses[low:high]:
        address, size = int(access["address"]), int(access["size"])
        lines = found.setdefault(int(access["insn"]) - begin, set())
        lines |= set(range(address // _LINE, (address + max(size, 1) - 1) // _LINE + 1))
    return found
