"""The accuracy page: errors and rank correlations are those of the rows, gaps are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tramposim.errors import InputError
from tramposim.report.accuracy import accuracy_markdown, accuracy_text
from tramposim.study.accuracy import AccuracyRequest, accuracy
from tramposim.study.rank import kendall_tau
from tramposim.timing import load_core

BLOCKS = (
    "hex,measured_cycles_per_100_iterations\n"
    "480fafc1,300\n"  # imul rax, rcx: 3 cycles
    "4801c8,200\n"  # add rax, rcx: 1 cycle, measured as 2 here
    "c5fc58c0,400\n"  # a vector addition, which the model refuses
)


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        # Kendall, Rank Correlation Methods (1948): 12 of 15 pairs agree, 3 do not
        ([1, 2, 3, 4, 5, 6], [3, 1, 2, 4, 6, 5], 0.6),
        # scipy.stats.kendalltau's documented example
        ([12, 2, 1, 12, 2], [1, 4, 7, 1, 0], -0.4714045207910316),
        ([1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_rank_correlation_of_textbooks(first: list[float], second: list[float], tau: float) -> None:
    assert kendall_tau(first, second) == pytest.approx(tau)


def test_errors_are_against_the_measured_cycles(tmp_path: Path) -> None:
    (tmp_path / "golden-cove-blocks.csv").write_text(BLOCKS)
    records = accuracy(AccuracyRequest((load_core("golden-cove"),), (tmp_path,)))
    row = records.rows[0]
    assert (row["core"], row["data"], row["rows"], row["failed"]) == ("golden-cove", "blocks", 2, 1)
    assert row["mean_error_percent"] == pytest.approx(25, abs=1)
    assert row["worst_error_percent"] == pytest.approx(50, abs=1)
    assert row["kendall_tau"] == 1
    text = accuracy_text(records)
    assert "4801c8 -50 %" in text
    assert "vaddps" in text
    assert "| golden-cove | blocks | 2 |" in accuracy_markdown(records)


def test_what_native_writes_is_read_from_the_first_folder_that_has_it(tmp_path: Path) -> None:
    cached = tmp_path / "zen5-blocks.csv"
    cached.write_text("hex,mode,cycles_per_iteration_median\n480fafc1,cached,3\n")
    (tmp_path / "zen5-scenarios.csv").write_text(
        "kernel,entry,returns,scenario,body,cycles_per_call_median\n7.2,jmp,plain,fentry,empty,30\n"
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "zen5-blocks.csv").write_text("hex,mode,cycles_per_iteration_median\n90,cached,9\n")
    records = accuracy(AccuracyRequest((load_core("zen5"),), (tmp_path, other)))
    found = {row["data"]: row for row in records.rows}
    assert found["scenarios"]["rows"] == found["blocks"]["rows"] == 1
    assert found["blocks"]["mean_error_percent"] == pytest.approx(0, abs=1)


def test_a_sample_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    (tmp_path / "golden-cove-blocks.csv").write_text(BLOCKS)
    request = AccuracyRequest((load_core("golden-cove"),), (tmp_path,), sample=1, seed=3)
    first, second = accuracy(request), accuracy(request)
    assert first == second
    assert "At most 1 rows" in accuracy_text(first)


def test_what_was_not_measured_is_said() -> None:
    records = accuracy(AccuracyRequest((load_core("neoverse-n1"),), (), sample=1))
    text = accuracy_text(records)
    assert "uncalibrated (no measurement of their silicon): neoverse-n1" in text
    assert "No measured data here: --data DIR" in text


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder of measurements"):
        accuracy(AccuracyRequest((load_core("golden-cove"),), (tmp_path / "none",)))


def test_a_malformed_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "golden-cove-blocks.csv").write_text("hex,cycles\n90,1\n")
    with pytest.raises(InputError, match=r"golden-cove-blocks\.csv"):
        accuracy(AccuracyRequest((load_core("golden-cove"),), (tmp_path,)))


def test_calls_that_pass_state_are_those_that_were_measured(shared: Path, tmp_path: Path) -> None:
    name = "golden-cove-state-passing.csv"
    (tmp_path / name).write_text((shared / "hardware" / name).read_text())
    row = accuracy(AccuracyRequest((load_core("golden-cove"),), (tmp_path,))).rows[0]
    assert (row["data"], row["rows"]) == ("state passing", 8)
    assert row["kendall_tau"] == 1
    assert float(str(row["mean_error_percent"])) < 9
