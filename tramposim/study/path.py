"""The critical path of a call: the links that decide its cycles, averaged over its calls."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.study.events import InstructionNames
from tramposim.study.staged import StagedCalls
from tramposim.timing.critical import Link, critical_path, group_of
from tramposim.timing.missed import Missed

__all__ = ["PathLink", "links_of_call", "path_links"]

_Key = tuple[int, int, str, str, str, int | None]


@dataclass(frozen=True, slots=True)
class PathLink:
    """What one instruction contributes to the cycles of a call, for one reason.

    `part` and `function` say where the instruction at `place` belongs. `reason` is that of
    `timing.critical.Link`, `group` its group; `found` and `address` tell of a cold miss where
    the line, page or branch was. `cycles` are per call, the mean over the calls that were
    recorded; those of all links sum to the cycles per call. If the front end has two states,
    `faster` and `slower` are the cycles in each.
    """

    part: str
    function: str
    instruction: str
    place: str
    reason: str
    group: str
    found: str
    address: int | None
    cycles: float
    faster: float | None = None
    slower: float | None = None


def path_links(staged: StagedCalls) -> tuple[PathLink, ...]:
    """The links in the order in which a call executes their instructions.

    Where a steady state repeats after a number of calls that were not recorded as a whole, the
    links' cycles are scaled by the fraction of a per cent that is missing.
    """
    sums: dict[_Key, list[float]] = {}
    recordings = staged.timing.recordings
    recorded = sum(one.share * one.cycles / len(one.calls) for one in recordings)
    scale = staged.timing.cycles_per_call / recorded if recorded else 1.0
    parts = [staged.parts(number) for number in range(staged.prepared.call_count)]
    for number, recording in enumerate(recordings):
        calls = staged.timing.calls
        missed = Missed(calls[number].misses) if calls else None
        share = scale * recording.share / len(recording.calls)
        call = 0
        for link in critical_path(staged.prepared, staged.core, recording, missed):
            while link.position >= recording.marks[call + 1]:
                call += 1
            while link.position < recording.marks[call]:
                call -= 1
            # What the following calls do is what calls do that follow.
            index = link.position - recording.marks[call]
            number_of_call = recording.calls[call % len(recording.calls)]
            address = staged.prepared.addresses[recording.order[link.position]]
            key = (index, address, parts[number_of_call][index][0], link.reason, link.found,
                   link.address)  # fmt: skip
            states = sums.setdefault(key, [0.0, 0.0])
            states[not recording.fast] += link.cycles * share
    names = InstructionNames(staged.trace)
    shares = {recording.fast: recording.share for recording in recordings}
    two = len(shares) > 1
    found = []
    for key in sorted(sums, key=lambda key: (key[0], key[1], key[5] or 0, key[3])):
        _, pc, part, reason, where, target = key
        function = staged.places.function(pc)
        found.append(
            PathLink(part, function, names.text(pc), names.place(pc), reason, group_of(reason),
                     where, target, sum(sums[key]),
                     *(cycles / shares[fast] for fast, cycles in zip(
                         (True, False), sums[key], strict=True) if two))
        )  # fmt: skip
    return tuple(found)


def links_of_call(staged: StagedCalls, number: int) -> dict[int, list[Link]]:
    """The links of one call by the place of their instruction in it, of the pass that
    `StagedCalls.stages` shows."""
    recordings, calls = staged.timing.recordings, staged.timing.calls
    if calls:
        recording, missed, place = recordings[number], Missed(calls[number].misses), 0
    else:
        recording, missed, place = next(one for one in recordings if one.fast), None, number
    begin, end = recording.marks[place : place + 2]
    found: dict[int, list[Link]] = {}
    for link in critical_path(staged.prepared, staged.core, recording, missed):
        if begin <= link.position < end:
            found.setdefault(link.position - begin, []).append(link)
    return found
