"""`tramposim replay`: tables, a CSV of measured cycles, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main


def test_table_and_records(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    smoke = str(shared / "golden" / "smoke-x86_64.jsonl.xz")
    ids = "n1.bpf_fentry_test1.fs,n1.bpf_fentry_test1.fe_fx"
    assert main(["replay", smoke, "--ids", ids]) == 0
    text = capsys.readouterr().out
    assert "x86_64 kernel 7.2.13 (default), captured code, on golden-cove" in text
    assert text.splitlines()[-1] == "2 replayed, 0 failed"
    assert main(["replay", smoke, "--ids", ids, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["instructions_per_call"] for row in rows] == [275, 271]


def test_a_table_of_measured_cycles(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(shared / "hardware" / "golden-cove-images.csv")
    assert main(["replay", table, "--core", "golden-cove"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "34 replayed, 0 failed" in lines
    assert lines[-1].startswith("error against measured cycles over 34 rows: mean ")
    golden = str(shared / "golden")
    assert main(["replay", table, "--golden", golden, "--format", "csv"]) == 0
    assert "measured_cycles_per_call" in capsys.readouterr().out.splitlines()[0]


def test_errors(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(shared / "hardware" / "golden-cove-images.csv")
    assert main(["replay", table, "--golden", str(tmp_path)]) == 2
    assert "no captures x86_64-7.2*-default-*.jsonl.xz here" in capsys.readouterr().err
    smoke = str(shared / "golden" / "smoke-x86_64.jsonl.xz")
    assert main(["replay", smoke, "--core", "no-such-core"]) == 2
    assert main(["replay", smoke, "--core", "neoverse-n1"]) == 2
    assert "neoverse-n1 is an arm64 core" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "absent.jsonl")]) == 2
    assert main(["replay", table, "--hardware", table]) == 2
