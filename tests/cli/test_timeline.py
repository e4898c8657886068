"""`tramposim timeline`: files, refusals, the same bytes each time."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.support.konata import read_konata
from tramposim.cli import main


def test_two_logs_are_written_beside_each_other(tmp_path: Path) -> None:
    target = tmp_path / "call.kanata.gz"
    words = ["timeline", "fentry", "fexit", "--ab", "--format", "konata", "-o", str(target)]
    assert main(words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "call-a.kanata.gz",
        "call-b.kanata.gz",
    ]
    first = (tmp_path / "call-a.kanata.gz").read_bytes()
    assert read_konata(gzip.decompress(first).decode())
    assert main(words) == 0
    assert (tmp_path / "call-a.kanata.gz").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fentry", "--ab"], "two scenarios"),
        (["fentry", "fexit", "--format", "konata"], "--ab"),
        (["fentry", "--part", "frob"], "no part 'frob'"),
        (["fentry", "--core", "neoverse-n1"], "arm64 core"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_own_programs_and_cold_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.bpf"
    path.write_text(".section fsession/bpf_fentry_test1\nboth:\n    r0 = 0\n    exit\n")
    words = ["timeline", str(path), "both", "--state", "cold-data", "--part", "body fentry[0]"]
    assert main(words) == 0
    assert "bpf_prog_both" in capsys.readouterr().out
