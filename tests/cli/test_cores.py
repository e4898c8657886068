"""`cores`: every core in a list, one with its sources, and the errors against measured cycles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main
from tramposim.timing import core_names

BLOCKS = "hex,measured_cycles_per_100_iterations\n480fafc1,300\n4801c8,100\n"
"""imul rax, rcx and add rax, rcx on any Intel core: 3 cycles and 1."""


def test_the_list_names_every_core_and_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cores"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(core_names())
    assert sum("uncalibrated" in line for line in lines) == len(lines) - 2


def test_one_core_prints_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cores", "cortex-a72"]) == 0
    printed = capsys.readouterr().out
    assert "Cortex-A72 Software Optimization Guide" in printed
    assert "l3_kib" in printed


@pytest.mark.parametrize("core", ["golden-cove", "skylake"])
def test_accuracy_of_one_core(
    core: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{core}-blocks.csv").write_text(BLOCKS)
    arguments = ["cores", core, "--accuracy", "--data", str(tmp_path), "--format", "json"]
    assert main(arguments) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert (row["core"], row["data"], row["rows"]) == (core, "blocks", 2)
    assert row["worst_error_percent"] < 1
    assert row["rows_close_percent"] == 100


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["cores", "--sample", "3"], "need --accuracy"),
        (["cores", "--accuracy", "--data", "nowhere"], "nowhere"),
        (["cores", "pentium"], "unknown core 'pentium'"),
        (["cores", "--confidence", "low"], "needs --sensitivity"),
        (["cores", "--accuracy", "--sensitivity"], "two questions"),
    ],
)
def test_misuse_is_one_clear_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_parameters_are_records_with_their_sources(tmp_path: Path) -> None:
    target = tmp_path / "cores.json"
    assert main(["cores", "zen3", "--format", "json", "-o", str(target)]) == 0
    rows = json.loads(target.read_text())["rows"]
    assert rows[0]["core_error"] == "uncalibrated"
    for row in rows[1:]:
        assert row["what"] in ("parameter", "class")
        assert row["source"]
        assert row["confidence"]
    assert len({(row["what"], row.get("group"), row["name"]) for row in rows[1:]}) == len(rows) - 1
