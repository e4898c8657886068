"""Files for other tools, read by those tools where they are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gbench import changes, read_gbench
from tramposim.errors import InputError
from tramposim.report.interchange import google_benchmark_json, pyperf_json
from tramposim.study.records import Records
from tramposim.timing import load_core


def _records(factor: float = 1.0) -> Records:
    rows = tuple(
        {
            "arch": "x86_64",
            "core": "golden-cove",
            "scenario": scenario,
            "body": "empty",
            "cycles_per_call": cycles * factor,
            "image_bytes": 217,
        }
        for scenario, cycles in (("fentry+fexit", 69.0), ("fsession", 70.0))
    )
    return Records({"version": "0", "basis": "hot"}, rows)


def test_pyperf_compares_two_of_our_files(tmp_path: Path) -> None:
    pytest.importorskip("pyperf")
    for name, factor in (("base", 1.0), ("new", 1.5)):
        (tmp_path / f"{name}.json").write_text(pyperf_json(_records(factor)))
    done = subprocess.run(
        [sys.executable, "-m", "pyperf", "compare_to", "base.json", "new.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1.50x slower" in done.stdout


def test_google_benchmark_rows_have_what_its_compare_tool_reads() -> None:
    document = json.loads(google_benchmark_json(_records()))
    # tools/gbench/report.py of google/benchmark reads these of every benchmark
    for row, cycles in zip(document["benchmarks"], (69.0, 70.0), strict=True):
        assert row["real_time"] == row["cpu_time"]
        assert row["real_time"] == pytest.approx(cycles / load_core("golden-cove").clock_ghz)
        assert (row["time_unit"], row["run_type"]) == ("ns", "iteration")
        assert row["name"] == row["run_name"]
        assert row["image_bytes"] == 217
    assert isinstance(document["context"]["caches"], list)


def test_a_reader_of_google_benchmark_finds_the_changes() -> None:
    old, new = (read_gbench(google_benchmark_json(_records(f))) for f in (1.0, 1.5))
    assert list(old) == [
        "x86_64/golden-cove/fentry+fexit/empty",
        "x86_64/golden-cove/fsession/empty",
    ]
    assert all(len(repetitions) == 1 for repetitions in old.values())
    for name, change in changes(old, new).items():
        assert change == pytest.approx(0.5), name


def test_rows_of_other_kernels_have_names_of_their_own() -> None:
    rows = tuple({**row, "kernel": kernel} for row in _records().rows for kernel in ("7.0", "7.2"))
    found = read_gbench(google_benchmark_json(Records({}, rows)))
    assert "x86_64/golden-cove/fsession/empty/7.0" in found
    assert all(len(repetitions) == 1 for repetitions in found.values())
    pyperf = pytest.importorskip("pyperf")
    suite = pyperf.BenchmarkSuite.loads(pyperf_json(Records({}, rows)))
    assert suite.get_benchmark_names() == list(found)


def test_rows_that_nothing_tells_apart_are_refused() -> None:
    rows = _records().rows
    with pytest.raises(InputError, match="two rows are called x86_64/golden-cove/fsession/empty"):
        google_benchmark_json(Records({}, (*rows, {**rows[1]})))


def test_records_without_cycles_are_refused() -> None:
    with pytest.raises(InputError, match="no row has cycles"):
        pyperf_json(Records({}, ({"core": "golden-cove", "n": 1},)))
