"""Tables of explanations: stretches of a path keep its cycles, differences keep theirs."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tramposim.report.explain import explain_markdown, explain_text
from tramposim.report.stretches import stretches
from tramposim.spec import Arch, Kernel
from tramposim.study.explain import explain, explain_records
from tramposim.study.records import Records
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_CORES, Subject, function_of
from tramposim.timing import load_core


@cache
def _records(arch: Arch, state: str, *scenarios: str, body: str = "count") -> Records:
    core = load_core(DEFAULT_CORES[arch])
    subjects = (
        Subject(Kernel(arch), function_of(), parse_scenario(words), body, state)
        for words in scenarios
    )
    return explain_records([explain(subject, core) for subject in subjects])


def _link(part: str, group: str, cycles: float, place: str) -> dict[str, object]:
    return {
        "what": "link",
        "part": part,
        "group": group,
        "reason": group,
        "first": "nop",
        "place": place,
        "cycles_per_call": cycles,
    }


def test_stretches_join_what_belongs_together() -> None:
    links = [
        _link("body", "front end", 30, "f+0x0"),
        _link("body", "front end", 20, "f+0x4"),
        _link("body", "ports", 0.5, "f+0x8"),
        _link("body", "front end", 10, "g+0x0"),
        _link("body", "serialising", 30, "g+0x4"),
        _link("exit", "serialising", 10, "h+0x0"),
    ]
    found = stretches(links)
    assert [(one.part, one.group, one.cycles) for one in found] == [
        ("body", "front end", 60.5),
        ("body", "serialising", 30),
        ("exit", "serialising", 10),
    ]
    assert [one.where for one in found] == ["f to g", "nop (g+0x4)", "nop (h+0x0)"]


@pytest.mark.parametrize("arch", list(Arch))
def test_a_path_in_stretches_has_the_calls_cycles(arch: Arch) -> None:
    rows = _records(arch, "hot", "fsession").rows
    links = [row for row in rows if row["what"] == "link"]
    cycles = sum(one.cycles for one in stretches(links))
    assert cycles == pytest.approx(float(str(rows[0]["cycles_per_call"])), abs=0.01)


def test_every_link_is_shown_if_asked_for() -> None:
    records = _records(Arch.ARM64, "hot", "fsession")
    links = [row for row in records.rows if row["what"] == "link"]
    table = explain_text(records, "file", links=True).split("Critical path")[1]
    table = table.split("Mispredictions")[0]
    shown = re.findall(r"^ +[\d.]+  \w.*\(.*\+0x[0-9a-f]+\)$", table, re.MULTILINE)
    assert len(shown) == len(links)


def test_a_range_is_told_where_the_front_end_has_two_states() -> None:
    records = _records(Arch.X86_64, "hot", "fexit", body="empty")
    call = records.rows[0]
    title = explain_text(records, "file").split("\ncore ")[0].replace("\n", " ")
    assert f"({call['cycles_low']:.1f} to {call['cycles_high']:.1f})" in title
    shares = [row for row in records.rows if row["what"] == "share"]
    for state, end in (("cycles_faster", "cycles_low"), ("cycles_slower", "cycles_high")):
        cycles = sum(float(str(row[state])) for row in shares)
        assert cycles == pytest.approx(float(str(call[end])), abs=0.5)


def test_markdown_has_the_tables_too() -> None:
    text = explain_markdown(_records(Arch.ARM64, "cold", "fentry+fexit", "fsession"))
    for heading in ("### Bottlenecks", "### Critical path", "### Side by side", "### Line by line"):
        assert heading in text
    assert "| whole call |" in text
