"""Every shipped core times the standard scenarios, and older cores take longer."""

from __future__ import annotations

from functools import cache

import pytest

from tramposim.kernel.declaration import parse_prototype
from tramposim.study.kernels import kernel_of
from tramposim.study.measure import Measurement, measure
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_FUNCTION, Subject
from tramposim.timing import core_names, load_core


@cache
def measured(core_name: str, scenario: str, body: str = "empty") -> Measurement:
    core = load_core(core_name)
    kernel = kernel_of(core.arch, "7.2")
    prototype = parse_prototype(DEFAULT_FUNCTION)
    return measure(Subject(kernel, prototype, parse_scenario(scenario), body, cold=True), core)


@pytest.mark.parametrize("core", core_names())
def test_scenarios_rank_on_every_core(core: str) -> None:
    hot = [measured(core, name).cycles_per_call for name in ("untraced", "fentry", "fentry+fexit")]
    assert hot == sorted(hot)
    assert hot[0] >= 2
    pair = measured(core, "fentry+fexit")
    assert pair.cold is not None
    assert pair.cold.cycles_per_call > 3 * pair.cycles_per_call


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("skylake", "icelake-server"),
        ("icelake-server", "golden-cove"),
        ("cortex-a72", "neoverse-n1"),
        ("neoverse-n1", "neoverse-n2"),
        ("neoverse-n2", "neoverse-v2"),
    ],
)
def test_an_older_core_takes_longer(older: str, newer: str) -> None:
    slow = measured(older, "fentry+fexit", "latency-hash").cycles_per_call
    assert slow > measured(newer, "fentry+fexit", "latency-hash").cycles_per_call
