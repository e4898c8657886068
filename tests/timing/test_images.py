"""Captured trampolines: the model against silicon, and what a timing must be by itself."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.timing.replay import image_trace
from tramposim.errors import InputError
from tramposim.timing import load_core, time_trace

DEFAULT = "x86_64-7.2.13-default"
CASE = "n1.bpf_fentry_test1.fs"


def _rows(shared: Path) -> list[dict[str, str]]:
    with open(shared / "hardware" / "golden-cove-images.csv", newline="") as file:
        return [r for r in csv.DictReader(file) if ".bpf_modify_return_test." not in r["id"]]


def test_captured_images_cost_what_they_cost_on_silicon(shared: Path) -> None:
    core = load_core("golden-cove")
    errors = {}
    for row in _rows(shared):
        timing = time_trace(image_trace(shared / "golden", DEFAULT, row["id"]), core)
        errors[row["id"]] = abs(timing.cycles_per_call / float(row["hw_cycles_median"]) - 1)
    assert sum(errors.values()) / len(errors) < 0.05
    assert max(errors.values()) < 0.15


@pytest.mark.parametrize(
    ("variant", "kind", "cycles"),
    [
        (DEFAULT, "fe_fx", 72.1),
        (DEFAULT, "fs", 68.5),
        ("x86_64-7.2.13-its", "fe_fx", 108.1),
        ("x86_64-7.2.13-its", "fs", 104.6),
        ("x86_64-7.2.13-srso", "fe_fx", 596.2),
        ("x86_64-7.2.13-srso", "fs", 604.2),
    ],
)
def test_return_thunks_cost_what_they_cost_on_silicon(
    shared: Path, variant: str, kind: str, cycles: float
) -> None:
    """Measured values: golden-cove-table.md."""
    trace = image_trace(shared / "golden", variant, f"n1.bpf_fentry_test1.{kind}")
    assert time_trace(trace, load_core("golden-cove")).cycles_per_call == pytest.approx(
        cycles, rel=0.1
    )


def test_every_return_of_an_srso_thunk_is_mispredicted(shared: Path) -> None:
    core = load_core("golden-cove")
    plain = time_trace(image_trace(shared / "golden", DEFAULT, CASE), core)
    srso = time_trace(image_trace(shared / "golden", "x86_64-7.2.13-srso", CASE), core)
    assert plain.events["return_mispredicts"] == 0
    assert srso.events["return_mispredicts"] == 16


def test_shares_sum_to_the_total_and_repeat(shared: Path) -> None:
    trace = image_trace(shared / "golden", DEFAULT, CASE)
    first, second = (time_trace(trace, load_core("golden-cove")) for _ in range(2))
    assert first == second
    assert first.steady
    assert sum(first.shares.values()) == pytest.approx(first.cycles_per_call)
    assert first.instructions_per_call == 275


def test_a_trace_of_the_other_architecture_is_refused(shared: Path) -> None:
    trace = image_trace(shared / "golden", DEFAULT, CASE)
    with pytest.raises(InputError, match=r"neoverse-n1 is arm64, the trace is x86_64"):
        time_trace(trace, load_core("neoverse-n1"))
