"""`tramposim explain`: tables, records, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main


def test_two_scenarios_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "fentry+fexit", "fsession", "--arch", "x86_64"]) == 0
    text = capsys.readouterr().out
    assert "Side by side" in text
    assert "fsession costs" in text
    (total,) = [line.split() for line in text.splitlines() if line.startswith(" whole call")][2:]
    assert float(total[3]) - float(total[2]) == pytest.approx(float(total[4]), abs=0.11)
    causes = [float(word) for word in total[5:-2]]
    assert sum(causes) == pytest.approx(float(total[4]), abs=0.1 * len(causes))


def test_records_hold_every_part_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fsession+cookie:latency-cookie", "--arch", "arm64", "--format", "json"]
    assert main(["explain", *words]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["what"] for row in rows} == {
        "call", "part", "function", "share", "link", "event",
    }  # fmt: skip
    total = rows[0]["cycles_per_call"]
    for what in ("part", "share", "link"):
        cycles = sum(row["cycles_per_call"] for row in rows if row["what"] == what)
        assert cycles == pytest.approx(total, abs=0.01)
    shares = [row["cycles_share"] for row in rows if row["what"] == "part"]
    assert sum(shares) == pytest.approx(1, abs=0.01)


def test_three_scenarios_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "fentry", "fexit", "fsession"]) == 2
    assert "two to compare" in capsys.readouterr().err


def test_an_unknown_body_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "fentry:frob"]) == 2
    assert "frob" in capsys.readouterr().err


PROGRAMS = """\
.section fentry/bpf_fentry_test1
entry:
    r0 = 0
    exit
.section fexit/bpf_fentry_test1
leave:
    r0 = 0
    exit
.section fsession/bpf_fentry_test1
both:
    r0 = 0
    exit
"""


@pytest.fixture
def programs(tmp_path: Path) -> str:
    path = tmp_path / "own.bpf"
    path.write_text(PROGRAMS)
    return str(path)


def test_own_programs_cost_what_compare_says(
    programs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", programs, "--arch", "x86_64", "--format", "json"]) == 0
    calls = [row for row in json.loads(capsys.readouterr().out)["rows"] if row["what"] == "call"]
    assert main(["compare", programs, "--arch", "x86_64", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    compared = {row["body"]: row["cycles_per_call"] for row in rows}
    assert {row["body"]: row["cycles_per_call"] for row in calls} == {
        body: pytest.approx(compared[body], abs=0.01) for body in ("entry + leave", "both")
    }


def test_programs_are_chosen_by_name(programs: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", programs, "leave", "both+entry", "--arch", "arm64", "--format", "json"]
    assert main(words) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    bodies = dict.fromkeys(row["body"] for row in rows)
    assert list(bodies) == ["leave", "both + entry"]
    assert main(["explain", programs, "frob"]) == 2
    assert "no program is called frob" in capsys.readouterr().err


def test_options_of_programs_need_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "fentry", "--arg", "1"]) == 2
    assert "--arg needs a file of programs" in capsys.readouterr().err


def test_the_cold_difference_is_told_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A pair touches more lines of code than one fsession and costs more; the tables say where."""
    words = ["fentry+fexit:count", "fsession:count", "--arch", "arm64", "--state", "cold"]
    assert main(["explain", *words, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    sides = [
        [row for row in rows if row["scenario"] == words] for words in ("fentry+fexit", "fsession")
    ]
    pair, session = (
        {row["line"] for row in side if row.get("miss") == "code line"} for side in sides
    )
    assert len(pair) > len(session)
    totals = [side[0]["cycles_per_call"] for side in sides]
    assert totals[0] > totals[1]
    missed = [
        sum(row["cycles_per_call"] for row in side if row["what"] == "miss") for side in sides
    ]
    shares = [
        sum(row["cycles_per_call"] for row in side
            if row["what"] == "share" and row["group"] == "cold misses")
        for side in sides
    ]  # fmt: skip
    assert missed == pytest.approx(shares, abs=0.1)
    assert main(["explain", *words]) == 0
    text = capsys.readouterr().out
    table = text[text.index("Line by line") :].splitlines()
    (total,) = [line.split() for line in table if line.startswith(" whole call")]
    assert float(total[-1].replace(",", "")) == pytest.approx(totals[1] - totals[0], abs=0.1)
    listed = [line.split() for line in table if line.startswith((" code ", " data ", " branch "))]
    assert listed


def test_stated_costs_are_a_part_of_the_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "random.bpf"
    path.write_text(
        ".section fentry/bpf_fentry_test1\np:\n    call bpf_get_prandom_u32\n    r0 = 0\n    exit\n"
    )
    words = ["explain", str(path), "--arch", "x86_64", "--format", "json"]
    assert main([*words, "--cost", "bpf_get_prandom_u32=40"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    parts = {row["part"]: row["cycles_per_call"] for row in rows if row["what"] == "part"}
    assert parts["stated costs"] == 40
    assert sum(parts.values()) == pytest.approx(rows[0]["cycles_per_call"], abs=0.01)
