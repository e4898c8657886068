"""Files for other tools, read by those tools where they are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_records_without_cycles_are_refused() -> None:
    with pytest.raises(InputError, match="no row has cycles"):
        pyperf_json(Records({}, ({"core": "golden-cove", "n": 1},)))
