"""`throughput` and `cores` at the command line: CSV in, CSV out, one line per refusal."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from click.testing import CliRunner

from tramposim.cli.cores import cores
from tramposim.cli.throughput import throughput
from tramposim.errors import InputError, UnsupportedError


def test_a_csv_of_blocks_becomes_a_csv_of_cycles(tmp_path: Path) -> None:
    source, target = tmp_path / "blocks.csv", tmp_path / "cycles.csv"
    source.write_text("name,hex\nchain,4801c8\nmultiply,480fafc1\n")
    result = CliRunner().invoke(
        throughput, ["--core", "golden-cove", "-i", str(source), "-o", str(target)]
    )
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [float(row["cycles"]) for row in rows] == pytest.approx([1.0, 3.0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocks.csv", "cycles.csv"]


def test_a_block_that_cannot_be_timed_keeps_its_row_and_fails_the_run(tmp_path: Path) -> None:
    source = tmp_path / "blocks.csv"
    source.write_text("hex\nc5fc58c0\n90\n")
    result = CliRunner().invoke(throughput, ["--core", "golden-cove", "-i", str(source)])
    assert isinstance(result.exception, UnsupportedError)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert rows[0]["cycles"] == ""
    assert "vaddps" in rows[0]["error"]
    assert float(rows[1]["cycles"]) > 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--core", "golden-cove"], "either --hex BYTES or -i FILE"),
        (["--core", "golden-cove", "--hex", "xyz"], "block 1: not hex"),
        (["--core", "pentium", "--hex", "90"], "unknown core 'pentium'"),
        (["--core", "golden-cove", "-i", "no/such.csv"], "no/such.csv: cannot be read"),
    ],
)
def test_bad_input_is_one_line_that_says_where(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(throughput, arguments)
    assert isinstance(result.exception, InputError)
    assert complaint in str(result.exception)


def test_cores_lists_every_core_with_its_error_and_one_with_every_source() -> None:
    listing = CliRunner().invoke(cores, []).output
    assert "neoverse-n1" in listing
    assert "uncalibrated" in listing
    one = CliRunner().invoke(cores, ["golden-cove"]).output
    assert "rename_width" in one
    assert "measured error: trampolines" in one
