"""Repetitions that are recognised count what they would have counted if they were executed.

Where stages are recorded every instruction is executed: the outside truth of these tests.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tramposim._native.pipeline import Pipeline
from tramposim.machine.trace import STORE, Trace
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Attachment, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import function_of
from tramposim.timing import Core, load_core
from tramposim.timing.decode import parameters
from tramposim.timing.prepare import PreparedTrace, prepare
from tramposim.timing.stages import STAGES

PASSES = 3


def _trace(core: Core, scenario: str, body: str, calls: int) -> Trace:
    programs = [Attachment(program) for program in programs_of(parse_scenario(scenario), body)]
    world = TracedWorld(Kernel(core.arch), function_of(), programs)
    world.run(4, trace=False)
    trace = world.run(calls).trace
    assert trace is not None
    return trace


def _passes(
    core: Core, prepared: PreparedTrace, locked: bool, executed: bool
) -> list[tuple[object, ...]]:
    """Everything that can be read from a pipeline after each pass."""
    pipeline = Pipeline(parameters(core), prepared.code.insns, prepared.code.uops)
    pipeline.lock(locked)
    found: list[tuple[object, ...]] = []
    for _ in range(PASSES):
        cycles = np.zeros(len(prepared.marks), dtype=np.int64)
        stages: NDArray[np.void] | None = None
        if executed:
            stages = np.zeros(len(prepared.order), dtype=STAGES)
        pipeline.run(prepared.order, prepared.accesses, prepared.marks, cycles, stages)
        found.append(
            (
                cycles.tolist(),
                pipeline.cycle,
                pipeline.events(),
                pipeline.shares(),
                pipeline.stalls(),
                pipeline.waits(),
            )
        )
    return found


@pytest.mark.parametrize("name", ["golden-cove", "zen4", "neoverse-n1"])
@pytest.mark.parametrize(
    ("scenario", "body"),
    [("untraced", "empty"), ("fentry+fexit", "empty"), ("fsession", "latency-hash")],
)
@pytest.mark.parametrize("locked", [True, False])
def test_recognised_passes_are_those_that_execute(
    name: str, scenario: str, body: str, locked: bool
) -> None:
    core = load_core(name)
    prepared = prepare(_trace(core, scenario, body, 120), core)
    assert _passes(core, prepared, locked, False) == _passes(core, prepared, locked, True)


def test_calls_that_differ_in_one_address_are_executed() -> None:
    core = load_core("golden-cove")
    trace = _trace(core, "fsession", "empty", 300)
    prepared = prepare(trace, core)
    stores = np.flatnonzero(prepared.accesses["flags"] & STORE)
    # The last calls store elsewhere: what reads there next is no longer forwarded to.
    changed = stores[stores > stores[len(stores) * 9 // 10]]
    accesses = prepared.accesses.copy()
    accesses["address"][changed] += 64
    prepared = replace(prepared, accesses=accesses)
    assert _passes(core, prepared, True, False) == _passes(core, prepared, True, True)


def test_equal_calls_cost_a_fraction_of_executing_them() -> None:
    core = load_core("golden-cove")
    prepared = prepare(_trace(core, "fsession", "empty", 1000), core)
    taken = []
    for executed in (False, True):
        start = time.process_time()
        _passes(core, prepared, True, executed)
        taken.append(time.process_time() - start)
    assert 3 * taken[0] < taken[1]
