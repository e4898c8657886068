"""Recorded calls to replay: from `perf script`, `trace-cmd report`, or CSV.

`perf script` and `trace-cmd report` print one line per event with the CPU in brackets and
the time in seconds before a colon:

    ping  812 [003] 5128.170318: probe:icmp_rcv: (ffffffff81c0)
    <idle>-0  [003] ..s2. 5128.170318: function: icmp_rcv

What was recorded of single tasks has no CPUs (`ping  812  5128.170318: ...`) and counts as of
one. Other lines (headers, call stacks) are passed over. CSV has a header line with a column
`time_s` and, if calls of several CPUs are told apart, `cpu`.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tramposim.errors import InputError

__all__ = ["read_recording"]

_EVENT = re.compile(r"\[(\d{1,5})\]\s+(?:\S+\s+)?(\d+\.\d+):\s+(.*)", re.ASCII)
_WITHOUT_CPU = re.compile(r"\s*\S.*\s\d+(?:/\d+)?\s+()(\d+\.\d{6,9}):\s+(.*)", re.ASCII)

_Call = tuple[int, float]


def read_recording(path: Path, event: str | None = None) -> tuple[tuple[float, ...], ...]:
    """Times of the recorded calls by CPU, in seconds since the first call of all.

    With `event` only lines that mention it count (an event, probe or function name). Element
    n holds the calls of CPU n. Raises `InputError` naming file and line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read the recording: {error.strerror}", str(path)) from error
    calls = list(_csv(text, path) if path.suffix == ".csv" else _events(text, event))
    if not calls:
        what = f"a line of event {event!r}" if event else "an event line '[cpu] seconds: event:'"
        raise InputError(
            f"no call found; {what} of perf script or trace-cmd report is needed, or a .csv file "
            "with a column time_s",
            str(path),
        )
    start = min(time for _, time in calls)
    by_cpu: list[list[float]] = [[] for _ in range(max(cpu for cpu, _ in calls) + 1)]
    for cpu, time in calls:
        by_cpu[cpu].append(time - start)
    return tuple(tuple(sorted(times)) for times in by_cpu)


def _events(text: str, event: str | None) -> Iterator[_Call]:
    name = re.compile(rf"(?<!\w){re.escape(event)}(?!\w)") if event else None
    for line in text.splitlines():
        found = _EVENT.search(line) or _WITHOUT_CPU.match(line)
        if found and (name is None or name.search(found[3])):
            yield int(found[1] or 0), float(found[2])


def _csv(text: str, path: Path) -> Iterator[_Call]:
    reader = csv.DictReader(text.splitlines())
    try:
        if "time_s" not in (reader.fieldnames or ()):
            raise InputError("a column time_s (seconds) is needed in the header", f"{path}:1")
        for row in reader:
            yield _call(row, f"{path}:{reader.line_num}")
    except csv.Error as error:
        raise InputError(f"no CSV: {error}", f"{path}:{reader.line_num}") from error


def _call(row: Mapping[str, str | None], where: str) -> _Call:
    try:
        time, cpu = float(row["time_s"] or ""), int(row.get("cpu") or 0)
    except ValueError as error:
        raise InputError("time_s must be a number and cpu a whole one", where) from error
    if not (math.isfinite(time) and 0 <= cpu < 100_000):
        raise InputError("time_s must be finite and cpu between 0 and 99999", where)
    return cpu, time
