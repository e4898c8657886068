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


def _errors(shared: Path, state: str) -> list[float]:
    """Relative errors of the model in one state: fentry, fentry+fexit."""
    core = load_core("golden-cove")
    empty = time_trace(_empty_call(), core, state).cycles_per_call
    cases = ("n1.bpf_fentry_test7.fe", "n1.bpf_fentry_test1.fe_fx")
    errors = []
    for case, measured in zip(cases, MEASURED[state], strict=True):
        trace = image_trace(shared / "golden", "x86_64-7.2.13-default", case)
        trace = replace(trace, pages=())
        over = time_trace(trace, core, state).cycles_per_call - empty
        errors.append(over / measured - 1)
    return errors


@pytest.mark.parametrize("state", MEASURED)
def test_cold_calls_cost_what_silicon_measured(shared: Path, state: str) -> None:
    errors = _errors(shared, state)
    assert max(abs(error) for error in errors) <= TOLERANCE, errors


def test_the_core_file_claims_the_error_that_there_is(shared: Path) -> None:
    errors = [abs(e) for state in MEASURED if state != "hot" for e in _errors(shared, state)]
    claim = load_core("golden-cove").accuracy["cold"]
    assert claim.rows == len(errors)
    assert claim.mean_percent == pytest.approx(100 * sum(errors) / len(errors), abs=0.5)


def test_the_command_line_names_the_states_of_the_model() -> None:
    assert tuple(STATES) == STATE_NAMES
