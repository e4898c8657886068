"""A run of `load` as a trace for ui.perfetto.dev or chrome://tracing.

A scenario is two processes: its CPUs, with what had them, and its tasks, with their requests from
begin to end, the times in which they were preempted included. Format: Trace Event Format
(docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU), JSON, times in
microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tramposim._native.eventlog import What
from tramposim.study.load_trace import LoadTrace, TraceEvent

__all__ = ["load_trace_json"]

_Event = dict[str, object]


def load_trace_json(traces: Sequence[LoadTrace]) -> str:
    """The traces as one JSON text, an event a line."""
    events = [
        event
        for number, trace in enumerate(traces)
        for event in (*_cpus(2 * number + 1, trace), *_tasks(2 * number + 2, trace))
    ]
    body = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
    return f'{{"displayTimeUnit":"ns","traceEvents":[\n{body}\n]}}\n'


def _cpus(pid: int, trace: LoadTrace) -> Iterator[_Event]:
    """A track per CPU: requests, in them the traced calls; other tasks, interrupts, switches."""
    note = "" if trace.complete else f" (the first {len(trace.events):,} events)"
    yield from _names(
        pid, f"{trace.title}: CPUs{note}", {e.cpu: f"CPU {e.cpu}" for e in trace.events}
    )
    for event in trace.events:
        yield _slice(pid, event.cpu, _name(trace, event), event.begin, event.end, _details(event))
        called = min(event.begin + event.called - event.into, event.end)
        if event.what is What.REQUEST and called > event.begin:
            yield _slice(pid, event.cpu, trace.function, event.begin, called, {})


def _name(trace: LoadTrace, event: TraceEvent) -> str:
    if event.what in (What.REQUEST, What.COMPETING):
        return trace.tasks[event.number]
    if event.what is What.INTERRUPT:
        return f"interrupt {trace.interrupts[event.number]}"
    return "tick" if event.what is What.TICK else "switch"


def _details(event: TraceEvent) -> _Event:
    if event.what is not What.REQUEST:
        return {}
    found: _Event = {"arrival_us": _us(event.arrival), "ends_here": event.done}
    if not event.into:
        found["waited_us"] = _us(event.begin - event.arrival)
    return found


def _tasks(pid: int, trace: LoadTrace) -> Iterator[_Event]:
    """A track per task: each request from its begin to its end, preemptions in it."""
    requests = [e for e in trace.events if e.what in (What.REQUEST, What.COMPETING)]
    tracks = {event.number: trace.tasks[event.number] for event in requests}
    yield from _names(pid, f"{trace.title}: tasks", tracks)
    begun: dict[int, TraceEvent] = {}
    latest: dict[int, TraceEvent] = {}
    for event in requests:
        task = event.number
        first = begun.setdefault(task, event)
        before = latest.get(task)
        if before is not None and before.end < event.begin:
            yield _slice(pid, task, "preempted", before.end, event.begin, {"from_cpu": before.cpu})
        latest[task] = event
        if event.done:
            details: _Event = {
                "latency_us": _us(event.end - event.arrival),
                "waited_us": _us(first.begin - event.arrival),
                "cpu": event.cpu,
            }
            yield _slice(pid, task, "request", first.begin, event.end, details)
            del begun[task], latest[task]


def _names(pid: int, title: str, tracks: dict[int, str]) -> Iterator[_Event]:
    yield {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": title}}
    yield {
        "name": "process_sort_index",
        "ph": "M",
        "pid": pid,
        "tid": 0,
        "args": {"sort_index": pid},
    }
    for tid, name in sorted(tracks.items()):
        yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


def _slice(pid: int, tid: int, name: str, begin: float, end: float, args: _Event) -> _Event:
    start = _us(begin)
    event: _Event = {"name": name, "ph": "X", "ts": start, "dur": round(_us(end) - start, 6)}
    return {**event, "pid": pid, "tid": tid, "args": args}


def _us(seconds: float) -> float:
    """Microseconds, to the picosecond."""
    return round(seconds * 1e6, 6)
