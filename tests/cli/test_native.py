"""`tramposim native`: rows beside the model, refusals."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.host import on_x86_64
from tramposim.cli import main
from tramposim.machine import native


def _rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[Any]]:
    status = main(["native", "--samples", "5", "--format", "json", *arguments])
    told = capsys.readouterr()
    assert told.out, told.err
    rows = json.loads(told.out)["rows"]
    busy = [row["error"] for row in rows if "never idle" in row.get("error", "")]
    if busy:
        pytest.skip(busy[0])
    return status, rows


@on_x86_64
def test_scenarios_stand_beside_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    status, rows = _rows(capsys, "--core", "golden-cove", "--scenario", "fsession")
    assert status == 0
    assert [row["scenario"] for row in rows] == ["untraced", "fsession"]
    assert rows[1]["native_cycles_per_call"] > rows[0]["native_cycles_per_call"] > 1
    assert rows[1]["model_cycles_per_call"] > 20


@on_x86_64
def test_a_block_that_cannot_run_is_told_and_makes_the_status_3(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, rows = _rows(capsys, "--hex", "480fafc1", "--hex", "f4", "--hex", "zz")
    assert status == 3
    assert rows[0]["native_cycles"] == pytest.approx(3, rel=0.2)
    assert "privileged instruction" in rows[1]["error"]
    assert rows[2]["error"] == "not hex"


@on_x86_64
def test_a_core_of_the_other_architecture_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["native", "--core", "neoverse-n1"]) == 2
    assert "this machine is x86_64" in capsys.readouterr().err


def test_one_kind_of_thing_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["native", "--micro", "--hex", "90"]) == 2
    assert "one of --scenario, --micro, --hex and --input" in capsys.readouterr().err


@on_x86_64
def test_rows_that_a_busy_cpu_spoils_are_told_with_all_their_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # no probe is ever this fast
    monkeypatch.setattr(native, "_fastest", SimpleNamespace(cycles=1.0, seen=[]))
    monkeypatch.setattr(native, "_PATIENCE", 0.1)
    assert main(["native", "--samples", "5", "--scenario", "fsession", "--body", "count"]) == 3
    assert "plain fsession count: this CPU was never idle" in capsys.readouterr().out
