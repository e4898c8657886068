"""What a core hangs on: the numbers that move a call are named, and how far."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from tramposim.errors import InputError
from tramposim.report.sensitivity import sensitivity_markdown, sensitivity_text
from tramposim.spec import Kernel
from tramposim.study.measure import measure
from tramposim.study.records import Records
from tramposim.study.scenario import parse_scenario
from tramposim.study.sensitivity import TOGETHER, sensitivity
from tramposim.study.subject import Subject, function_of
from tramposim.timing import Core, load_core
from tramposim.timing.core import parse_core
from tramposim.timing.variant import numbers_of, with_value

UNCERTAIN = ("forward_halves", "forward_block", "memory_latency", "system_write")
"""What the core of these tests is uncertain about: a rule of arm64's calls, what follows from it,
the wait of cold calls, and an instruction that no call has."""


@pytest.fixture(scope="module")
def core() -> Core:
    """A Neoverse V1 of which only `UNCERTAIN` is of low confidence."""
    text = (resources.files("tramposim.timing.cores") / "neoverse-v1.toml").read_text()
    lines = [
        re.sub('"(low|medium|high)"', '"low"' if line.startswith(UNCERTAIN) else '"high"', line)
        for line in text.splitlines()
    ]
    return parse_core("\n".join(lines), "v1.toml")


@pytest.fixture(scope="module")
def records(core: Core) -> Records:
    return sensitivity([core])


def test_forwarding_decides_hot_calls_and_memory_cold_ones(records: Records) -> None:
    """arm64 stores its preemption counter as four bytes and loads it as eight."""
    hot = [row["name"] for row in records.rows if row["state"] == "hot"]
    assert hot == ["forward_block", "forward_halves", TOGETHER]
    assert next(r for r in records.rows if r["state"] == "cold")["name"] == "memory_latency"


def test_what_no_call_executes_moves_nothing(records: Records) -> None:
    assert {row["name"] for row in records.rows} == {*UNCERTAIN[:3], TOGETHER}
    assert records.meta["moved"] == {"neoverse-v1": 4}


def test_rows_are_ordered_and_worth_a_hundredth(records: Records) -> None:
    for state in ("hot", "cold"):
        rows = [row for row in records.rows if row["state"] == state]
        assert rows[-1]["name"] == TOGETHER
        changes = [float(str(row["change_percent"])) for row in rows[:-1]]
        assert changes == sorted(changes, reverse=True)
        assert min(changes) >= 1


def test_the_range_is_what_the_changed_cores_take(core: Core, records: Records) -> None:
    row = next(r for r in records.rows if r["name"] == "forward_halves" and r["state"] == "hot")
    assert row["moved_to"] == "8, 24"
    subject = Subject(Kernel(core.arch), function_of(), parse_scenario(str(row["scenario"])))
    other = with_value(core, "memory", "forward_halves", 8)
    assert measure(subject, core).cycles_per_call == row["cycles_per_call"] == row["cycles_high"]
    assert measure(subject, other).cycles_per_call == row["cycles_low"]


def test_all_together_goes_as_far_as_each(records: Records) -> None:
    hot = [row for row in records.rows if row["state"] == "hot"]
    assert abs(float(str(hot[-1]["change_percent"]))) >= float(str(hot[0]["change_percent"]))


def test_tables_name_numbers_and_sources(core: Core, records: Records) -> None:
    text = " ".join(sensitivity_text(records).split())
    assert "4 numbers of confidence low moved by 50 %" in text
    assert "16 → 8, 24" in text
    assert core.sources["halves"].split(":")[0] in text
    assert "| hot | forward_halves | 16 → 8, 24 |" in sensitivity_markdown(records)


def test_an_unknown_confidence_is_refused(core: Core) -> None:
    with pytest.raises(InputError, match="known: low, medium, high"):
        sensitivity([core], "none")


def test_a_number_can_be_changed_and_nothing_else() -> None:
    core = load_core("cortex-a72")
    before = {(group, name): value for group, name, value, _, _ in numbers_of(core)}
    for key, value in ((("memory", "forward_block"), 3), (("pools", "load"), 4)):
        changed = with_value(core, *key, value)
        after = {(group, name): found for group, name, found, _, _ in numbers_of(changed)}
        assert after == {**before, key: value}


def test_a_class_that_keeps_its_port_goes_on_doing_so() -> None:
    counter = with_value(load_core("cortex-a72"), "classes", "counter_read", 7)
    assert (counter.classes["counter_read"].latency, counter.classes["counter_read"].occupancy) == (
        7,
        7,
    )


def test_what_is_no_core_is_refused() -> None:
    with pytest.raises(InputError, match="no sets"):
        with_value(load_core("golden-cove"), "caches", "l2_ways", 17)
