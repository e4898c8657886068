"""When each instruction of a call passed each stage of the core, and two such calls aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from tramposim.errors import InputError
from tramposim.study.events import InstructionNames
from tramposim.study.path import links_of_call
from tramposim.study.staged import StagedCalls

__all__ = ["CriticalSpan", "Timeline", "TimelineRow", "align", "timeline"]


@dataclass(frozen=True, slots=True)
class CriticalSpan:
    """A stretch of the call's critical path that one instruction takes: `cycles` from `begin`."""

    reason: str
    begin: int
    cycles: int


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One executed instruction: what it is, where it belongs, when it passed the stages.

    Cycles count from the first one shown. `issued` is None for an instruction that needed no
    port. `critical` are its stretches of the call's critical path. `retire_id` numbers rows in
    order; in aligned timelines equal numbers correspond.
    """

    call: int
    address: int
    text: str
    function: str
    part: str
    delivered: int
    renamed: int
    issued: int | None
    executed: int
    retired: int
    notes: tuple[str, ...]
    critical: tuple[CriticalSpan, ...]
    retire_id: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows of whole calls in program order."""

    title: str
    core: str
    clock_ghz: float
    rows: tuple[TimelineRow, ...]

    @property
    def cycles(self) -> int:
        """From the first cycle shown to the last instruction's retirement."""
        return max(row.retired for row in self.rows) + 1


def timeline(staged: StagedCalls, calls: int = 1) -> Timeline:
    """The last `calls` whole calls of a steady state.

    Raises `InputError` if fewer were recorded.
    """
    trace = staged.trace
    if not 1 <= calls < trace.call_count:
        raise InputError(f"{calls} calls; 1 to {trace.call_count - 1} can be shown")
    shown = range(trace.call_count - calls, trace.call_count)
    stages = staged.stages[int(trace.calls[shown[0]] - trace.calls[0]) :]
    paths = [_spans_of_call(staged, number) for number in shown]
    begins = [span.begin for path in paths for spans in path.values() for span in spans]
    origin = min([int(stages["delivered"].min()), *begins])
    name = InstructionNames(trace)
    rows: list[TimelineRow] = []
    for call, (number, path) in enumerate(zip(shown, paths, strict=True)):
        pcs = trace.pcs[int(trace.calls[number]) : int(trace.calls[number + 1])].tolist()
        for index, (pc, (part, _, _)) in enumerate(zip(pcs, staged.parts(number), strict=True)):
            stage = stages[len(rows)]
            issued = int(stage["issued"])
            rows.append(
                TimelineRow(
                    call=call,
                    address=pc,
                    text=name.text(pc),
                    function=staged.places.function(pc),
                    part=part,
                    delivered=int(stage["delivered"]) - origin,
                    renamed=int(stage["renamed"]) - origin,
                    issued=issued - origin if issued >= 0 else None,
                    executed=int(stage["executed"]) - origin,
                    retired=int(stage["retired"]) - origin,
                    notes=_notes(stage),
                    critical=tuple(
                        replace(span, begin=span.begin - origin) for span in path.get(index, ())
                    ),
                    retire_id=len(rows),
                )
            )
    subject = staged.subject
    body = f" ({subject.body})" if subject.body != "empty" else ""
    kernel = subject.kernel
    title = f"{subject.scenario.word}{body} on {kernel.arch}, kernel {kernel.version}"
    return Timeline(title, staged.core.name, staged.core.clock_ghz, tuple(rows))


def _spans_of_call(staged: StagedCalls, number: int) -> dict[int, list[CriticalSpan]]:
    """The critical path of a call by the place of its instructions, in the cycles of the stages."""
    before = staged.timing.recordings[:number] if staged.timing.calls else ()
    start = sum(one.cycles for one in before)
    return {
        index: [CriticalSpan(link.reason, link.begin + start, link.cycles) for link in links]
        for index, links in links_of_call(staged, number).items()
    }


def _notes(stage: object) -> tuple[str, ...]:
    words = {
        "mispredicted": "mispredicted",
        "forwarded": "value forwarded from a store",
        "memory_renamed": "memory renamed",
        "blocked": "blocked by a store",
    }
    found = [text for field, text in words.items() if stage[field]]  # type: ignore[index]
    bubbles = int(stage["bubbles"])  # type: ignore[index]
    if bubbles:
        found.append(f"{bubbles} fetch bubble{'s' if bubbles > 1 else ''} after it")
    return tuple(found)


def align(first: Timeline, second: Timeline) -> tuple[Timeline, Timeline]:
    """Both with retire ids that are equal where their instructions correspond.

    Instructions correspond if they do the same in the same part and function, in order; those
    that only one side has take ids of their own in between.
    """

    matcher = SequenceMatcher(
        None, [_key(row) for row in first.rows], [_key(row) for row in second.rows], autojunk=False
    )
    ids: tuple[list[int], list[int]] = ([], [])
    following = 0
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            numbers = range(following, following + a1 - a0)
            ids[0].extend(numbers)
            ids[1].extend(numbers)
            following += a1 - a0
            continue
        for side, count in ((0, a1 - a0), (1, b1 - b0)):
            ids[side].extend(range(following, following + count))
            following += count
    return _renumbered(first, ids[0]), _renumbered(second, ids[1])


def _key(row: TimelineRow) -> tuple[int, str, str, str]:
    """What makes an instruction the same in two scenarios: programs differ in their names."""
    generated = row.function.startswith(("bpf_prog_", "bpf_trampoline_"))
    return row.call, row.part, "" if generated else row.function, row.text.split(" ")[0]


def _renumbered(side: Timeline, ids: Sequence[int]) -> Timeline:
    rows = (replace(row, retire_id=number) for row, number in zip(side.rows, ids, strict=True))
    return replace(side, rows=tuple(rows))
