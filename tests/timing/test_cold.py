"""Cold calls against silicon: what the measured core took when parts of its state were lost.

Hardware: Emerald Rapids, calls of captured images with the kernel's own runtime in 4 KB pages,
cycles over an empty call in the same state (facts/cores.md, section 1).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.timing.replay import image_trace
from tramposim.cli.options import STATE_NAMES
from tramposim.machine.trace import Trace
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Kernel, Prototype, Value
from tramposim.timing import STATES, load_core, time_trace

MEASURED = {
    "hot": (29, 65),
    "cold-code": (102, 177),
    "cold-data": (47, 76),
    "cold-tlb": (240, 230),
    "cold-core": (300, 368),
    "cold": (720, 772),
}
"""State -> cycles over an empty call of fentry and of fentry+fexit, empty programs."""

TOLERANCE = 0.20
"""How far the measurements themselves are said to repeat."""


def _empty_call() -> Trace:
    prototype = Prototype("bpf_fentry_test1", (Value(4, True),), Value(4, True))
    world = TracedWorld(Kernel(Arch.X86_64), prototype)
    world.run(2, trace=False)
    trace = world.run(8).trace
    assert trace is not None
    return trace


@pytest.mark.parametrize("state", MEASURED)
def test_cold_calls_cost_what_silicon_measured(shared: Path, state: str) -> None:
    core = load_core("golden-cove")
    empty = time_trace(_empty_call(), core, state).cycles_per_call
    cases = ("n1.bpf_fentry_test7.fe", "n1.bpf_fentry_test1.fe_fx")
    for case, measured in zip(cases, MEASURED[state], strict=True):
        trace = image_trace(shared / "golden", "x86_64-7.2.13-default", case)
        trace = replace(trace, pages=())
        over = time_trace(trace, core, state).cycles_per_call - empty
        assert over == pytest.approx(measured, rel=TOLERANCE), case


def test_the_command_line_names_the_states_of_the_model() -> None:
    assert tuple(STATES) == STATE_NAMES
