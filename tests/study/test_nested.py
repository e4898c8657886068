"""Nested traced calls executed in place cost what `load` takes them for: calls made alone."""

from __future__ import annotations

import pytest

from tests.support.nested import nested_calls
from tramposim.timing import load_core, time_trace


def _cycles(core_name: str, scenario: str, body: str, depth: int) -> float:
    """Hot cycles per traced call of a chain of calls."""
    core = load_core(core_name)
    outermost = nested_calls(core.arch, scenario, body, depth)
    outermost.run(4, trace=False)
    trace = outermost.run(16).trace
    assert trace is not None
    return time_trace(trace, core).cycles_per_call / depth


@pytest.mark.parametrize(("core", "bound"), [("golden-cove", 0.03), ("neoverse-n1", 0.05)])
@pytest.mark.parametrize(
    ("scenario", "body"),
    [
        ("fentry+fexit", "count"),
        ("fsession", "count"),
        ("fentry+fexit", "latency-stack"),
        ("fsession+cookie", "latency-cookie"),
    ],
)
def test_chains_of_calls_cost_what_their_calls_do(
    core: str, bound: float, scenario: str, body: str
) -> None:
    alone = _cycles(core, scenario, body, 1)
    for depth in (2, 10):
        assert _cycles(core, scenario, body, depth) == pytest.approx(alone, rel=bound)


@pytest.mark.parametrize("core", ["golden-cove", "neoverse-n1"])
def test_every_level_runs_every_program(core: str) -> None:
    outermost = nested_calls(load_core(core).arch, "fentry+fexit", "count", 5)
    outermost.run(3)
    # at entry and exit of every level of every call
    (count,) = outermost.guest.array("counts")
    assert int.from_bytes(count, "little") == 2 * 5 * 3
