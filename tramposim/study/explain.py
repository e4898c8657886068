"""Where the cycles of a traced call go: by part of the image, and which events cost them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tramposim import __version__
from tramposim.study.events import CostEvent, cost_events
from tramposim.study.misses import MissCost, miss_costs
from tramposim.study.partcosts import PartCost, part_costs
from tramposim.study.path import PathLink, path_links
from tramposim.study.records import Records, Value
from tramposim.study.staged import StagedCalls, staged_calls
from tramposim.study.subject import Subject
from tramposim.timing import STATES, Core, Timing
from tramposim.timing.critical import GROUPS

__all__ = [
    "STATED",
    "CostEvent",
    "Explanation",
    "MissCost",
    "PartCost",
    "PathLink",
    "Share",
    "explain",
    "explain_calls",
    "explain_records",
    "group_field",
]

STATED = "stated costs"
"""Part and group of what helpers were stated to cost, which was not executed."""


@dataclass(frozen=True, slots=True)
class Share:
    """Cycles per call that the critical path spends for one reason.

    `faster` and `slower` are those in each state of the front end, if it has two.
    """

    group: str
    reason: str
    cycles: float
    faster: float | None = None
    slower: float | None = None


def _in_state(links: Iterable[PathLink], state: str) -> float:
    """What links take in one state; a stated cost takes the same in both."""
    values = ((getattr(link, state), link.cycles) for link in links)
    return sum(mean if value is None else value for value, mean in values)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A subject's timing with its parts in order of execution, its critical path, events, misses.

    The cycles of `parts` and of `path` sum to the cycles per call.
    """

    subject: Subject
    core: Core
    timing: Timing
    parts: tuple[PartCost, ...]
    path: tuple[PathLink, ...]
    events: tuple[CostEvent, ...]
    misses: tuple[MissCost, ...]

    @property
    def totals(self) -> tuple[PartCost, ...]:
        """The rows of whole parts, without those of single functions."""
        return tuple(part for part in self.parts if not part.function)

    @property
    def cycles(self) -> float:
        """Cycles per call: the sum of the parts."""
        return sum(part.cycles for part in self.totals)

    @property
    def shares(self) -> tuple[Share, ...]:
        """Cycles per call by reason of the critical path's links, largest first."""
        links: dict[tuple[str, str], list[PathLink]] = {}
        for link in self.path:
            links.setdefault((link.group, link.reason), []).append(link)
        two = any(link.faster is not None for link in self.path)
        found = [
            Share(
                *key,
                sum(link.cycles for link in alike),
                _in_state(alike, "faster") if two else None,
                _in_state(alike, "slower") if two else None,
            )
            for key, alike in links.items()
        ]
        return tuple(sorted(found, key=lambda one: (-one.cycles, one.group, one.reason)))


def explain(subject: Subject, core: Core) -> Explanation:
    """Execute the subject and attribute its cycles; raises what `measure` raises."""
    return explain_calls(staged_calls(subject, core))


def explain_calls(calls: StagedCalls) -> Explanation:
    """Attribute the cycles of calls that were executed and timed."""
    path = path_links(calls)
    stated = [
        PathLink(STATED, cost.helper, cost.text, "", STATED, STATED, "", None, cost.cycles_per_call)
        for cost in calls.executed.attached.stated
    ]
    return Explanation(
        calls.subject,
        calls.core,
        calls.timing,
        (*part_costs(calls, path), *_stated_part(stated)),
        (*path, *stated),
        tuple(cost_events(calls.trace, calls.stages, calls.core)),
        miss_costs(calls, path) if calls.timing.calls else (),
    )


def _stated_part(stated: list[PathLink]) -> Iterator[PartCost]:
    """Stated costs as a part of the call."""
    if stated:
        cycles = sum(link.cycles for link in stated)
        yield PartCost(STATED, "", "", cycles, {STATED: cycles}, 0.0, 0.0, 0, 0, 0)


def group_field(group: str) -> str:
    """The field of a part's row that holds the cycles of a group of reasons."""
    return f"cycles_{group.replace(' ', '_')}"


def explain_records(explanations: Iterable[Explanation]) -> Records:
    """A row (`what`) per call, part, function within a part, share of a reason, link of the
    critical path, event and miss."""
    explanations = tuple(explanations)
    rows: list[Mapping[str, Value]] = []
    for found in explanations:
        subject = found.subject
        head: dict[str, Value] = {
            "arch": subject.kernel.arch.value,
            "core": found.core.name,
            "core_error": found.core.error,
            "kernel": subject.kernel.version,
            "returns": subject.kernel.returns.value,
            "function": subject.prototype.name,
            "scenario": subject.scenario.word,
            "body": subject.body,
            "state": subject.state,
        }
        rows += [head | row for row in _rows(found)]
    state = explanations[0].subject.state if explanations else "hot"
    return Records(
        meta={
            "command": "explain",
            "version": __version__,
            "state": state,
            "basis": "core cycles per call on the critical path, of the core model, "
            f"{state}: {STATES[state]}",
        },
        rows=tuple(rows),
    )


def _rows(found: Explanation) -> Iterator[dict[str, Value]]:
    total = found.cycles
    yield _call(found)
    for part in found.parts:
        yield _part(part, total)
    for share in found.shares:
        yield _share(share, total)
    for link in found.path:
        yield _link(link)
    for event in found.events:
        yield {
            "what": "event",
            "event": event.kind,
            "events_per_call": round(event.per_call, 4),
            "first": event.first,
            "second": event.second,
        }
    for miss in found.misses:
        yield _miss(miss)


def _cycles(cycles: float, total: float) -> dict[str, Value]:
    return {
        "cycles_per_call": round(cycles, 3),
        "cycles_share": round(cycles / total, 4) if total else 0.0,
    }


def _share(share: Share, total: float) -> dict[str, Value]:
    row: dict[str, Value] = {"what": "share", "group": share.group, "reason": share.reason}
    row |= _cycles(share.cycles, total)
    if share.faster is not None and share.slower is not None:
        row["cycles_faster"] = round(share.faster, 3)
        row["cycles_slower"] = round(share.slower, 3)
    return row


def _call(found: Explanation) -> dict[str, Value]:
    timing = found.timing
    row: dict[str, Value] = {"what": "call", "cycles_per_call": round(found.cycles, 3)}
    if timing.cycles_high > timing.cycles_low:
        stated = found.cycles - timing.cycles_per_call
        row["cycles_low"] = round(timing.cycles_low + stated, 3)
        row["cycles_high"] = round(timing.cycles_high + stated, 3)
    return row | {
        "instructions_per_call": round(timing.instructions_per_call, 3),
        "uops_per_call": round(timing.uops_per_call, 3),
    }


def _part(part: PartCost, total: float) -> dict[str, Value]:
    row: dict[str, Value] = {"what": "function" if part.function else "part", "part": part.part}
    if part.function:
        row["part_function"] = part.function
    if part.program:
        row["program"] = part.program
    row |= _cycles(part.cycles, total)
    row |= {
        group_field(group): round(part.groups[group], 3)
        for group in (*GROUPS, STATED)
        if part.groups.get(group)
    }
    row |= {
        "instructions_per_call": round(part.instructions, 3),
        "uops_per_call": round(part.uops, 3),
        "code_lines": part.code_lines,
        "data_lines": part.data_lines,
    }
    if part.bytes:
        row["image_bytes"] = part.bytes
    return row


def _link(link: PathLink) -> dict[str, Value]:
    row: dict[str, Value] = {
        "what": "link",
        "part": link.part,
        "group": link.group,
        "reason": link.reason,
        "first": link.instruction,
        "place": link.place,
        "cycles_per_call": round(link.cycles, 4),
    }
    if link.address is not None:
        row |= {"found": link.found, "address": f"{link.address:#x}"}
    return row


def _miss(miss: MissCost) -> dict[str, Value]:
    return {
        "what": "miss",
        "part": miss.part,
        "miss": miss.kind,
        "found": miss.found,
        "address": f"{miss.address:#x}",
        "line": miss.name,
        "first": miss.instruction,
        "place": miss.place,
        "misses_per_call": round(miss.per_call, 4),
        "wait_cycles": round(miss.wait_cycles, 2),
        "cycles_per_call": round(miss.path_cycles, 3),
    }
