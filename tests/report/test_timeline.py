"""Pipeline pictures, read back by readers of their formats."""

from __future__ import annotations

import json
import os
import shutil
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.konata import read_konata
from tramposim.report.timeline import konata_log, perfetto_json, timeline_text
from tramposim.spec import Arch, Kernel
from tramposim.study.scenario import parse_scenario
from tramposim.study.staged import staged_calls
from tramposim.study.subject import DEFAULT_CORES, Subject, function_of
from tramposim.study.timeline import Timeline, align, timeline
from tramposim.timing import load_core


@cache
def _timeline(words: str, arch: Arch = Arch.X86_64) -> Timeline:
    subject = Subject(Kernel(arch), function_of(), parse_scenario(words))
    return timeline(staged_calls(subject, load_core(DEFAULT_CORES[arch])), 2)


@pytest.mark.parametrize("arch", list(Arch))
def test_a_konata_log_reads_back_in_order(arch: Arch) -> None:
    shown = _timeline("fsession", arch)
    ops = read_konata(konata_log(shown))
    assert len(ops) == len(shown.rows)
    retired = [op.retired for op in ops.values()]
    assert retired == sorted(retired)
    for op, row in zip(ops.values(), shown.rows, strict=True):
        assert op.text == f"{row.address:#x} {row.text}"
        assert row.part in op.detail
        assert op.thread == row.call
        assert op.retired == row.retired + 1
        ends = [end for _, _, end in op.stages]
        assert [begin for _, begin, _ in op.stages][1:] == ends[:-1]


def test_aligned_logs_share_the_ids_of_what_corresponds() -> None:
    pair, session = align(_timeline("fentry+fexit"), _timeline("fsession"))
    for side in (pair, session):
        ids = [row.retire_id for row in side.rows]
        assert ids == sorted(set(ids))
    by_id = {row.retire_id: row for row in pair.rows}
    shared = [(by_id[row.retire_id], row) for row in session.rows if row.retire_id in by_id]
    assert len(shared) > 0.95 * len(pair.rows)
    assert all(one.part == two.part for one, two in shared)
    alone = {row.part for row in session.rows if row.retire_id not in by_id}
    assert {"clear session slots", "mark return"} <= alone


def test_a_perfetto_trace_nests_and_its_parts_cover_the_calls() -> None:
    shown = _timeline("fentry")
    trace = json.loads(perfetto_json((shown,)))
    events = trace["traceEvents"]
    slices = [event for event in events if event["ph"] == "X" and event["tid"] == 1]
    assert [event["args"]["call"] for event in slices] == sorted(
        event["args"]["call"] for event in slices
    )
    for before, after in pairwise(slices):
        assert before["ts"] + before["dur"] == pytest.approx(after["ts"], abs=1e-6)
    cycles = sum(event["args"]["cycles"] for event in slices)
    assert cycles == shown.cycles
    path = [event for event in events if event["ph"] == "X" and event["tid"] == 2]
    assert path
    for before, after in pairwise(path):
        assert before["ts"] + before["dur"] <= after["ts"] + 1e-6
    depth: dict[str, list[str]] = {}
    for event in events:
        if event["ph"] == "b":
            depth.setdefault(event["id"], []).append(event["name"])
        elif event["ph"] == "e":
            assert depth[event["id"]].pop() == event["name"]
    assert not any(depth.values())
    assert len(depth) == len(shown.rows)


def _trace_processor() -> str | None:
    """Perfetto's trace processor, if it is installed or was downloaded before."""
    folder = Path.home() / ".local" / "share" / "perfetto" / "prebuilts"
    known = sorted(folder.glob("trace_processor_shell*")) if folder.is_dir() else []
    known = [path for path in known if os.access(path, os.X_OK)]
    return shutil.which("trace_processor_shell") or (str(known[0]) if known else None)


@pytest.mark.skipif(_trace_processor() is None, reason="no trace_processor_shell here")
def test_perfettos_trace_processor_reads_the_trace(tmp_path: Path) -> None:
    api = pytest.importorskip("perfetto.trace_processor")
    shown = _timeline("fentry")
    path = tmp_path / "call.json"
    path.write_text(perfetto_json((shown,)))
    config = api.TraceProcessorConfig(bin_path=_trace_processor())
    with api.TraceProcessor(trace=str(path), config=config) as processor:
        rows = list(processor.query("select name, dur from slice where parent_id is null"))
        errors = list(
            processor.query("select name from stats where severity = 'error' and value > 0")
        )
    assert not errors
    names = [row.name for row in rows]
    assert {row.part for row in shown.rows} <= set(names)
    assert all(row.text in names for row in shown.rows)


def test_critical_cycles_of_a_call_sum_to_its_cycles() -> None:
    shown = _timeline("fsession")
    ends = [max(row.retired for row in shown.rows if row.call == call) for call in (0, 1)]
    cycles = sum(span.cycles for row in shown.rows if row.call == 1 for span in row.critical)
    # a path may begin in the call before and end in the one that follows
    assert cycles == pytest.approx(ends[1] - ends[0], rel=0.15)


def test_text_has_a_line_per_instruction_of_the_part() -> None:
    shown = _timeline("fexit")
    text = timeline_text(shown, "call original")
    lines = [line for line in text.splitlines() if line.startswith("[")]
    assert len(lines) == sum(row.part == "call original" for row in shown.rows)
    assert "-- call original" in text
    assert text.splitlines()[3].startswith("Index ")
    starred = [line for line in lines if line.split()[0].endswith("*")]
    on_path = [row for row in shown.rows if row.part == "call original" and row.critical]
    assert len(starred) == len(on_path) > 0
    assert "-- prologue" not in text
