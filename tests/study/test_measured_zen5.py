"""The comparison against cycles measured on silicon (Zen 5), which the project ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tramposim.study.accuracy import AccuracyRequest, accuracy
from tramposim.study.records import Value
from tramposim.timing import load_core

HARDWARE = Path(__file__).parents[2] / "results" / "hardware"


@cache
def row(data: str) -> dict[str, Value]:
    records = accuracy(AccuracyRequest((load_core("zen5"),), (HARDWARE,)))
    return next(dict(each) for each in records.rows if each["data"] == data)


@pytest.mark.parametrize("data", ["scenarios", "blocks", "micro-kernels"])
def test_the_error_is_what_the_core_file_says(data: str) -> None:
    said = load_core("zen5").accuracy[data]
    found = row(data)
    assert "failed" not in found
    assert found["rows"] == said.rows
    assert found["mean_error_percent"] == pytest.approx(said.mean_percent, abs=0.1)
