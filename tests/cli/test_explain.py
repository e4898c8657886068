"""`tramposim explain`: tables, records, refusals."""

from __future__ import annotations

import json

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
