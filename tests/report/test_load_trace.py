"""The trace of a run: parsed back and held against the events and against arithmetic."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from support.workloads import HEAD

from tramposim._native.eventlog import EventLog
from tramposim.report.load_trace import load_trace_json
from tramposim.schedule.arrivals import ClosedLoop, Periodic, Poisson
from tramposim.schedule.clock import Clock
from tramposim.schedule.cost import CallCost, FixedCosts
from tramposim.schedule.simulate import simulate
from tramposim.schedule.world import Competitor, Flow, Interrupts, Task, World, WorldResult
from tramposim.study.load_trace import load_trace
from tramposim.study.workload import parse_workload

TEXT = f"""{HEAD}
[function]
prototype = "int f(int a)"
[arrivals]
kind = "poisson"
rate = "20k"
[machine]
cpus = 2
[[interrupts]]
name = "network"
kind = "periodic"
rate = "1k"
cycles = 4000
[[tasks]]
name = "batch"
cycles = 50000
count = 1
"""


def _run(room: int) -> tuple[WorldResult, list[dict[str, Any]]]:
    clock, log = Clock(2e9), EventLog(room)
    world = World(
        clock,
        2,
        tuple(Task((Flow("f", Poisson(20_000), 9000),), cpu) for cpu in range(2)),
        0.02,
        tick_hz=1000,
        tick_cycles=500,
        switch_cycles=100,
        interrupts=(Interrupts(Periodic(1000), 4000),),
        competitors=(Competitor("batch", ClosedLoop(), 50_000, 0),),
    )
    result = simulate(world, FixedCosts({"f": CallCost(500, 1000)}), log=log)
    trace = load_trace("x86_64 fsession", parse_workload(TEXT, "t"), clock, log)
    return result, json.loads(load_trace_json([trace]))["traceEvents"]


def test_every_moment_of_a_cpu_is_one_slice() -> None:
    result, events = _run(100_000)
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names[1, 0] == "CPU 0"
    assert {names[2, 0], names[2, 1], names[2, 2]} == {"f 0", "f 1", "batch"}
    slices: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X" and event["pid"] == 1 and event["name"] != "f":
            slices[event["tid"]].append(event)
    for cpu, found in slices.items():
        for before, after in pairwise(found):
            assert after["ts"] >= before["ts"] + before["dur"] - 1e-5
        busy = sum(e["dur"] for e in found if e["name"].startswith("f "))
        taken = sum(e["dur"] for e in found if e["name"] in ("tick", "switch", "interrupt network"))
        competing = sum(e["dur"] for e in found if e["name"] == "batch")
        times = result.cpus[cpu]
        for microseconds, time in (
            (busy, times.busy), (taken, times.taken), (competing, times.competing)
        ):  # fmt: skip
            assert microseconds == pytest.approx(Clock(2e9).to_seconds(time) * 1e6, abs=5)
    assert {e["name"] for e in slices[0]} == {"f 0", "batch", "tick", "switch", "interrupt network"}
    assert "batch" not in {e["name"] for e in slices[1]}


def test_requests_of_tasks_hold_their_preemptions() -> None:
    result, events = _run(100_000)
    requests = [e for e in events if e["name"] == "request" and e["tid"] < 2]
    assert len(requests) == result.flows[0].calls
    latencies = sorted(e["args"]["latency_us"] for e in requests)
    assert latencies[-1] == pytest.approx(
        Clock(2e9).to_seconds(result.flows[0].latency.maximum) * 1e6, abs=1e-3
    )
    for request in requests:
        inside = [
            e
            for e in events
            if e["name"] == "preempted" and e["tid"] == request["tid"]
            and request["ts"] <= e["ts"] < request["ts"] + request["dur"]
        ]  # fmt: skip
        # 10,000 cycles at 2 GHz, and what was taken from it
        assert request["dur"] == pytest.approx(5.0 + sum(e["dur"] for e in inside), abs=1e-4)
    assert any(e["name"] == "preempted" for e in events)


def test_a_full_log_says_so() -> None:
    _, events = _run(50)
    (title,) = [e["args"]["name"] for e in events if e["name"] == "process_name" and e["pid"] == 1]
    assert title.endswith("(the first 50 events)")
