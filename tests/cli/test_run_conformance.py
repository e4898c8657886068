"""`tramposim run` of conformance test files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main

TEXT = "-- asm\nldxh %r0, [%r1+1]\nexit\n-- mem\naa bb cc\n-- result\n0xccbb\n"


def test_every_engine_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.data"
    path.write_text(TEXT)
    assert main(["run", str(path), "--engine", "all"]) == 0
    assert capsys.readouterr().out.count("r0 = 0xccbb: passed") == 3


def test_a_wrong_result_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.data"
    path.write_text(TEXT.replace("0xccbb", "5"))
    assert main(["run", str(path)]) == 1
    assert "r0 = 0xccbb: FAILED, r0 = 0x5 expected" in capsys.readouterr().out
    path.write_text(
        TEXT.replace("%r1+1", "%r1+2").replace("-- result\n0xccbb", "-- error\n2 bytes")
    )
    assert main(["run", str(path), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["value"], row["passed"]) == (None, True)


def test_damaged_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.data"
    path.write_text("-- asm\nbogus\n")
    assert main(["run", str(path)]) == 2
    assert f"{path}:2: unknown instruction 'bogus'" in capsys.readouterr().err
