"""Long traces: half of their calls warm the core, and the cycles found are those of every call."""

from __future__ import annotations

from dataclasses import replace
from statistics import harmonic_mean

import numpy as np
import pytest

from tramposim._native.pipeline import Pipeline
from tramposim.machine.trace import ACCESS, Trace
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Attachment, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import function_of
from tramposim.timing import Core, load_core, time_trace
from tramposim.timing.decode import parameters
from tramposim.timing.passes import Stretch, passes_of, settled
from tramposim.timing.prepare import prepare
from tramposim.timing.stages import STAGES

CALLS = 300


def _moving(core: Core, scenario: str) -> Trace:
    """Calls whose data are each in a page of their own."""
    programs = [Attachment(program) for program in programs_of(parse_scenario(scenario), "empty")]
    world = TracedWorld(Kernel(core.arch), function_of(), programs)
    world.run(4, trace=False)
    trace = world.run(CALLS).trace
    assert trace is not None
    accesses = trace.accesses.copy()
    calls = np.searchsorted(trace.calls, accesses["insn"], side="right")
    places = np.random.default_rng(0).integers(1 << 20, size=CALLS + 2)
    accesses["address"] += places[calls].astype(np.uint64) << np.uint64(12)
    return replace(trace, accesses=accesses)


@pytest.mark.parametrize("name", ["golden-cove", "neoverse-n1"])
def test_half_a_long_trace_finds_what_executing_it_again_and_again_finds(name: str) -> None:
    core = load_core(name)
    trace = _moving(core, "fentry+fexit")
    prepared = prepare(trace, core)
    assert passes_of(prepared).warming is not None
    means = []
    timing = time_trace(trace, core)
    for locked in (True, False):
        code = prepared.code
        pipeline = Pipeline(parameters(core), code.insns, code.uops)
        for number in range(4):
            if number == 1:
                pipeline.lock(locked)
            before = pipeline.cycle
            stages = np.zeros(len(prepared.order), dtype=STAGES)
            marks = prepared.marks
            pipeline.run(prepared.order, prepared.accesses, marks, np.zeros_like(marks), stages)
        means.append((pipeline.cycle - before) / CALLS)
    assert timing.steady
    if timing.events["target_changes"] and core.branches.fast_btb_relock.value:
        assert timing.cycles_per_call == pytest.approx(harmonic_mean(means), rel=1e-12)
    else:
        assert timing.cycles_per_call == means[0]


def test_short_traces_are_executed_whole() -> None:
    core = load_core("golden-cove")
    trace = _moving(core, "untraced")
    passes = passes_of(prepare(trace, core))
    assert passes.warming is None
    assert passes.first is passes.whole
    assert passes.whole.call_count == CALLS


def _calls(order: list[int], count: int) -> Stretch:
    marks = np.arange(count + 1, dtype=np.int64) * (len(order) // count)
    return Stretch(np.array(order, dtype=np.int32), np.zeros(0, ACCESS), marks)


@pytest.mark.parametrize(
    ("cycles", "found"),
    [
        ([7] * 40, True),
        ([9] + [7] * 39, True),
        ([7] * 20 + [8] + [7] * 19, False),
        ([7, 8] * 20, True),
        ([7, 8, 8] * 13 + [7], False),
        ([7, 8, 9, 10] * 10, True),
        ([7] * 31, False),
    ],
)
def test_calls_have_settled_if_they_take_turns(cycles: list[int], found: bool) -> None:
    calls = _calls([0, 1] * len(cycles), len(cycles))
    assert settled(calls, np.array(cycles)) is found


def test_calls_of_other_instructions_have_not_settled() -> None:
    assert not settled(_calls([0, 1] * 39 + [0, 2], 40), np.full(40, 7))
