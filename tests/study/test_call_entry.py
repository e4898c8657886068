"""Entry by `call`: the return that is skipped costs what it costs on silicon."""

from __future__ import annotations

import pytest

from tramposim.spec import Arch
from tramposim.study.kernels import kernel_of
from tramposim.study.measure import Measurement, measure
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import Subject, function_of
from tramposim.timing import load_core


def _measured(entry: str, returns: str, scenario: str) -> Measurement:
    kernel = kernel_of(Arch.X86_64, "7.2", entry, returns)
    subject = Subject(kernel, function_of(), parse_scenario(scenario), "empty")
    return measure(subject, load_core("golden-cove"))


@pytest.mark.parametrize(
    ("returns", "scenario", "by_jmp", "by_call"),
    [
        ("plain", "fexit", 49.2, 76.2),
        ("plain", "fentry+fexit", 72.1, 100.7),
        ("plain", "fsession", 68.5, 100.9),
        ("its", "fentry+fexit", 108.1, 129.0),
        ("its", "fsession", 104.6, 128.4),
    ],
)
def test_a_skipped_return_costs_what_it_costs_on_silicon(
    returns: str, scenario: str, by_jmp: float, by_call: float
) -> None:
    """Measured values: golden-cove-table.md, whose `call` rows repeat within 1 to 2 per cent."""
    jmp, call = (_measured(entry, returns, scenario) for entry in ("jmp", "call"))
    assert call.cycles_per_call == pytest.approx(by_call, rel=0.05)
    assert call.timing.cycles_low == call.timing.cycles_high
    assert call.cycles_per_call - jmp.cycles_per_call == pytest.approx(by_call - by_jmp, rel=0.17)
