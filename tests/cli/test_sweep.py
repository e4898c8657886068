"""`tramposim sweep` at the command line."""

from __future__ import annotations

import csv
import io

import pytest

from tramposim.cli import main
from tramposim.cli.sweep import _SHOWN
from tramposim.report.sweep import FIELDS
from tramposim.timing import core_names

SMALL = ["sweep", "--arch", "arm64", "--scenario", "fsession", "--jobs", "1"]


def test_all_cores_are_measured_where_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    arm = [name for name in core_names() if name.startswith(("cortex", "neoverse"))]
    assert [row["core"] for row in rows if row["scenario"] == "fsession"] == arm


def test_the_table_shows_the_field(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--core", "neoverse-n1", "--field", "image_bytes"]
    assert main([*SMALL, *words]) == 0
    # 344: code_len of the image that an arm64 7.2 kernel made (n1.bpf_fentry_test1.fs)
    assert "344" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cluster", "tcp://127.0.0.1:1", "--jobs", "1"], "no --jobs"),
        (["--kernel", "5.1"], "'5.1'"),
        (["--body", "frob"], "'frob'"),
    ],
)
def test_refusals_are_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_the_fields_offered_are_those_a_table_can_show() -> None:
    assert list(FIELDS) == list(_SHOWN)
