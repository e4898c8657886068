"""Where the cycles of a traced call go: by part of the image, and which events cost them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tramposim import __version__
from tramposim.study.events import CostEvent, cost_events
from tramposim.study.misses import MissCost, miss_costs
from tramposim.study.partcosts import PartCost, part_costs
from tramposim.study.path import PathLink, path_links
from tramposim.study.records import Records, Value
from tramposim.study.staged import staged_calls
from tramposim.study.subject import Subject
from tramposim.timing import STATES, Core, Timing

__all__ = ["CostEvent", "Explanation", "MissCost", "PartCost", "explain", "explain_records"]


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
        """Cycles per call of the calls that were explained: the sum of the parts."""
        return sum(part.cycles for part in self.totals)


def explain(subject: Subject, core: Core) -> Explanation:
    """Execute the subject and attribute its cycles; raises what `measure` raises."""
    calls = staged_calls(subject, core)
    path = path_links(calls)
    return Explanation(
        subject,
        core,
        calls.timing,
        tuple(part_costs(calls, path)),
        path,
        tuple(cost_events(calls.trace, calls.stages, core)),
        miss_costs(calls.trace, calls.timing.calls, calls.places),
    )


def explain_records(explanations: Iterable[Explanation]) -> Records:
    """One row per part, per function within a part (`what`: part, function), event and miss."""
    rows: list[Mapping[str, Value]] = []
    explanations = tuple(explanations)
    for found in explanations:
        subject = found.subject
        head: dict[str, Value] = {
            "arch": subject.kernel.arch.value,
            "core": found.core.name,
            "core_error": found.core.error,
            "kernel": subject.kernel.version,
            "returns": subject.kernel.returns.value,
            "scenario": subject.scenario.word,
            "body": subject.body,
            "state": subject.state,
        }
        total = found.cycles
        rows.append(
            head
            | {
                "what": "call",
                "cycles_per_call": round(total, 3),
                "instructions_per_call": round(found.timing.instructions_per_call, 3),
                "uops_per_call": round(found.timing.uops_per_call, 3),
            }
        )
        for part in found.parts:
            row: dict[str, Value] = {"what": "function" if part.function else "part"}
            row["part"] = part.part
            if part.function:
                row["function"] = part.function
            if part.program:
                row["program"] = part.program
            row |= {
                "cycles_per_call": round(part.cycles, 3),
                "cycles_share": round(part.cycles / total, 4) if total else 0.0,
                "instructions_per_call": round(part.instructions, 3),
                "uops_per_call": round(part.uops, 3),
                "code_lines": part.code_lines,
                "data_lines": part.data_lines,
            }
            if part.bytes:
                row["image_bytes"] = part.bytes
            rows.append(head | row)
        for event in found.events:
            rows.append(
                head
                | {
                    "what": "event",
                    "event": event.kind,
                    "events_per_call": round(event.per_call, 4),
                    "first": event.first,
                    "second": event.second,
                }
            )
        rows += [head | _miss(miss) for miss in found.misses]
    state = explanations[0].subject.state if explanations else "hot"
    return Records(
        meta={
            "command": "explain",
            "version": __version__,
            "state": state,
            "basis": "core cycles per call that retirement waited, of the core model, "
            f"{state}: {STATES[state]}",
        },
        rows=tuple(rows),
    )


def _miss(miss: MissCost) -> dict[str, Value]:
    return {
        "what": "miss",
        "part": miss.part,
        "miss": miss.kind,
        "found": miss.found,
        "address": f"{miss.address:#x}",
        "first": miss.instruction,
        "place": miss.place,
        "misses_per_call": round(miss.per_call, 4),
        "wait_cycles": round(miss.wait_cycles, 2),
    }
