"""Pipeline pictures: text as llvm-mca draws it, Konata logs, and traces for Perfetto."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

from tramposim.study.timeline import Timeline, TimelineRow

__all__ = ["konata_log", "perfetto_json", "timeline_text"]

_LEGEND = (
    "D: renamed into the core, =: waits for operands or a port, e: executes, E: result ready,\n"
    "-: waits to retire, R: retires; [call,instruction], * on the critical path (with its cycles\n"
    "there); cycle 0 is the first one shown."
)


def timeline_text(timeline: Timeline, part: str | None = None) -> str:
    """One line per instruction, a column per cycle; `part` shows only the parts so named."""
    rows = [row for row in timeline.rows if part is None or row.part == part]
    if not rows:
        return f"{timeline.title}: no part {part!r}\n"
    origin = min(row.renamed for row in rows)
    width = max(row.retired for row in rows) - origin + 1
    index = max(len("Index"), *(len(_index(row)) for row in rows))
    pad = " " * (index + 1)
    lines = [
        f"{timeline.title}, core {timeline.core}: {len(rows)} instructions in {width} cycles",
        "",
        f"{pad}{_ruler(width, 1)}".rstrip(),
        f"{'Index':<{index}} {_ruler(width, 0)}".rstrip(),
    ]
    current: tuple[int, str] | None = None
    for row in rows:
        if (row.call, row.part) != current:
            current = row.call, row.part
            lines.append(f"{pad}-- {row.part}".rstrip())
        notes = [*row.notes, *_critical(row)]
        note = f"  ; {', '.join(notes)}" if notes else ""
        picture = _stages(row, origin, width)
        lines.append(f"{_index(row):<{index}} {picture}  {row.text}  <{row.function}>{note}")
    return "\n".join([*lines, "", _LEGEND, ""])


def _critical(row: TimelineRow) -> list[str]:
    """What the instruction contributes to the critical path: `load latency 5`."""
    return [f"{span.reason} {span.cycles}" for span in row.critical]


def _index(row: TimelineRow) -> str:
    return f"[{row.call},{row.retire_id}]" + ("*" if row.critical else "")


def _ruler(width: int, odd: int) -> str:
    """The digits of every other ten cycles, as llvm-mca counts them on two lines."""
    return "".join(str(cycle % 10) if cycle // 10 % 2 == odd else " " for cycle in range(width))


def _stages(row: TimelineRow, origin: int, width: int) -> str:
    cells = ["." if cycle % 5 == 0 else " " for cycle in range(width)]
    begin, end = row.renamed - origin, row.retired - origin
    executed = min(max(row.executed - origin, begin), end)
    issued = executed if row.issued is None else max(row.issued - origin, begin)
    for cycle in range(begin, end + 1):
        if cycle < issued:
            cells[cycle] = "="
        elif cycle < executed:
            cells[cycle] = "e"
        elif cycle == executed:
            cells[cycle] = "E"
        else:
            cells[cycle] = "-"
    cells[begin] = "D"
    cells[end] = "R"
    return "".join(cells)


_PATH = "critical path"
_NAMES = ("F", "Ds", "Ex", "Cm")
"""Stages of a Konata log: delivered by the front end, renamed, executing, complete."""


def _spans(row: TimelineRow) -> list[tuple[str, int, int]]:
    """Stages that take time: (name, first cycle, cycle after)."""
    # A result that rename itself gives may be known before the instruction is renamed.
    issued = max(row.executed if row.issued is None else row.issued, row.renamed)
    executed = max(row.executed, issued)
    edges = [row.delivered, row.renamed, issued, executed, row.retired + 1]
    spans = []
    for name, (begin, end) in zip(_NAMES, pairwise(edges), strict=True):
        if end > begin:
            spans.append((name, begin, end))
    return spans


def konata_log(timeline: Timeline) -> str:
    """A log in format Kanata 0004, as Konata reads it.

    Source of the format: docs/kanata-log-format.md of github.com/shioyadan/Konata.
    """
    events: list[tuple[int, int, int, str]] = []
    entered = 0
    for number, row in enumerate(timeline.rows):
        # Ids must appear in order: a fused instruction counts as delivered with its partner.
        entered = max(entered, row.delivered)
        spans = _spans(replace(row, delivered=entered, renamed=max(entered, row.renamed)))
        first = spans[0][1]
        text = f"{row.address:#x} {row.text}"
        path = [f"critical path: {', '.join(_critical(row))}"] if row.critical else []
        detail = "; ".join([row.part, row.function, *row.notes, *path])
        events += [
            (first, number, 0, f"I\t{number}\t{row.retire_id}\t{row.call}"),
            (first, number, 1, f"L\t{number}\t0\t{text}"),
            (first, number, 2, f"L\t{number}\t1\t{detail}"),
        ]
        for name, begin, end in spans:
            events.append((begin, number, 4, f"S\t{number}\t0\t{name}"))
            events.append((end, number, 3, f"E\t{number}\t0\t{name}"))
        events.append((spans[-1][2], number, 5, f"R\t{number}\t{row.retire_id}\t0"))
    events.sort()
    lines = ["Kanata\t0004", f"C=\t{events[0][0] if events else 0}"]
    now = events[0][0] if events else 0
    for cycle, _, _, text in events:
        if cycle > now:
            lines.append(f"C\t{cycle - now}")
            now = cycle
        lines.append(text)
    return "\n".join(lines) + "\n"


def perfetto_json(timelines: tuple[Timeline, ...]) -> str:
    """Trace events (JSON) for ui.perfetto.dev or chrome://tracing, a process per timeline.

    Parts are slices that end when their last instruction retires, the links of the critical path
    slices of a track of their own; instructions are nested async slices with their stages. Times
    are microseconds at the core's clock.
    """
    events: list[dict[str, object]] = []
    for number, timeline in enumerate(timelines, 1):
        events += _perfetto(number, timeline)
    body = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
    return f'{{"displayTimeUnit":"ns","traceEvents":[\n{body}\n]}}\n'


def _perfetto(pid: int, timeline: Timeline) -> Iterator[dict[str, object]]:
    def at(cycle: int) -> float:
        return round(cycle / timeline.clock_ghz / 1000, 6)

    title = f"{timeline.title}, core {timeline.core} at {timeline.clock_ghz} GHz"
    yield {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": title}}
    yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": 1, "args": {"name": "parts"}}
    yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": 2, "args": {"name": _PATH}}
    yield from _path(pid, timeline, at)
    begin = 0
    rows = timeline.rows
    for index, row in enumerate(rows):
        following = rows[index + 1] if index + 1 < len(rows) else None
        if following is None or (following.part, following.call) != (row.part, row.call):
            end = row.retired + 1
            yield {
                "name": row.part,
                "ph": "X",
                "ts": at(begin),
                "dur": round(at(end) - at(begin), 6),
                "pid": pid,
                "tid": 1,
                "args": {"cycles": end - begin, "call": row.call},
            }
            begin = end
    for index, row in enumerate(rows):
        common = {"cat": "instruction", "id": f"{pid}:{index}", "pid": pid, "tid": 1}
        spans = _spans(row)
        arguments = {
            "address": f"{row.address:#x}",
            "function": row.function,
            "part": row.part,
            "delivered": row.delivered,
            "renamed": row.renamed,
            "executed": row.executed,
            "retired": row.retired,
            "notes": ", ".join(row.notes),
            "critical_path": ", ".join(_critical(row)),
        }
        yield {"name": row.text, "ph": "b", "ts": at(spans[0][1]), "args": arguments, **common}
        for name, first, last in spans:
            yield {"name": name, "ph": "b", "ts": at(first), **common}
            yield {"name": name, "ph": "e", "ts": at(last), **common}
        yield {"name": row.text, "ph": "e", "ts": at(spans[-1][2]), **common}


def _path(pid: int, timeline: Timeline, at: Callable[[int], float]) -> Iterator[dict[str, object]]:
    """The links of the critical path: they follow each other, one at a time."""
    spans = [(span.begin, span, row) for row in timeline.rows for span in row.critical]
    for begin, span, row in sorted(spans, key=lambda one: one[0]):
        yield {
            "name": span.reason,
            "ph": "X",
            "ts": at(begin),
            "dur": round(at(begin + span.cycles) - at(begin), 6),
            "pid": pid,
            "tid": 2,
            "args": {
                "cycles": span.cycles,
                "instruction": row.text,
                "function": row.function,
                "part": row.part,
            },
        }
