"""Changes between records: identity by texts, direction of worse."""

from __future__ import annotations

import pytest

from tramposim.errors import InputError
from tramposim.study.changes import changes_of, regressions
from tramposim.study.records import Records, Value


def _records(*rows: dict[str, Value]) -> Records:
    return Records({}, rows)


BASE = _records(
    {"arch": "x86_64", "scenario": "fentry", "cycles_per_call": 30.0, "image_bytes": 200},
    {"arch": "x86_64", "scenario": "fexit", "cycles_per_call": 50.0, "core_error": "1 %"},
)


def test_rows_are_matched_by_their_texts_in_any_order() -> None:
    new = _records(
        {"arch": "x86_64", "scenario": "fexit", "cycles_per_call": 50.0, "core_error": "2 %"},
        {"arch": "x86_64", "scenario": "fentry", "cycles_per_call": 33.0, "image_bytes": 200},
        {"arch": "x86_64", "scenario": "fsession", "cycles_per_call": 60.0},
    )
    found = changes_of(BASE, new)
    (change,) = found.changes
    assert (change.row, change.field, change.percent) == ("fentry", "cycles_per_call", 10.0)
    assert (found.compared, found.gone, found.added) == (2, (), ("fsession",))
    assert regressions(found, ["cycles_per_call"], 9.9) == [change]
    assert regressions(found, ["cycles_per_call"], 10.0) == []
    assert regressions(found, ["image_bytes"], 0.0) == []


def test_fewer_hits_are_worse() -> None:
    old = _records({"benchmark": "a", "mhits_per_second": 10.0})
    new = _records({"benchmark": "a", "mhits_per_second": 9.0})
    assert regressions(changes_of(old, new), ["mhits_per_second"], 5)
    assert not regressions(changes_of(new, old), ["mhits_per_second"], 5)


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    twice = _records({"scenario": "fentry", "n": 1}, {"scenario": "fentry", "n": 2})
    with pytest.raises(InputError, match="cannot be told apart"):
        changes_of(twice, BASE)
