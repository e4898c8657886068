"""Single instructions against published latencies and throughputs, each case with its source."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tramposim.study.published import PublishedCase, load_published, time_published
from tramposim.timing import core_names, load_core

CASES = load_published()
ARM = ("neoverse-n1", "neoverse-n2", "neoverse-v1", "neoverse-v2", "cortex-a72")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.core}: {case.name}")
def test_an_instruction_takes_what_is_published(case: PublishedCase) -> None:
    cycles, reason = time_published(case, load_core(case.core))
    assert cycles is not None, reason
    # a mean of latencies, between two of the model's whole cycles, is met by the nearer
    between = 0.55 if case.units == 1 and abs(case.cycles - round(case.cycles)) > 0.4 else None
    assert cycles == pytest.approx(case.cycles, rel=0.05, abs=between), case.source


def test_every_core_is_held_against_enough_cases() -> None:
    counts = Counter(case.core for case in CASES)
    assert set(counts) <= set(core_names())
    assert min(counts["skylake"], counts["icelake-server"]) >= 60
    assert min(counts[name] for name in ARM) >= 40
    measured = Counter(c.core for c in CASES if not re.search("Optimization Guide", c.source))
    assert min(measured[name] for name in ARM if name != "neoverse-n2") >= 15


def test_every_case_names_an_outside_source() -> None:
    known = (
        r"uops\.info|Agner Fog|Intel optimization manual|Arm .* Software Optimization Guide"
        r"|insn_bench_aarch64|jiegec/blog-source|rust-lang/rust"
    )
    assert [case.name for case in CASES if not re.match(known, case.source)] == []
    assert len({(case.core, case.name) for case in CASES}) == len(CASES)
