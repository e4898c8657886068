"""Tables of sweeps: a line per machine, a column per scenario."""

from __future__ import annotations

import pytest

from tramposim.errors import InputError
from tramposim.report.sweep import FIELDS, sweep_markdown, sweep_sentences, sweep_text
from tramposim.study.records import Records, Value


def _row(core: str, scenario: str, entry: str | None, over: float, ratio: float | None) -> dict:
    row: dict[str, Value] = {
        "arch": "x86_64",
        "core": core,
        "kernel": "7.2",
        "returns": "plain",
        "scenario": scenario,
        "body": "empty",
        "state": "hot",
        "cycles_per_call": over + 3,
        "cycles_over_untraced": over,
        "added_percent_of_one_cpu": over / 100,
        "instructions_per_call": 100.0,
        "uops_per_call": 200.0,
        "image_bytes": 237,
    }
    if entry is not None:
        row["entry"] = entry
    if ratio is not None:
        row["over_pair_ratio"] = ratio
    return row


ROWS = (
    _row("a", "untraced", None, 0.0, None),
    _row("a", "fentry+fexit", "call", 100.0, 1.0),
    _row("a", "fsession", "call", 110.0, 1.1),
    _row("a", "fentry+fexit", "jmp", 50.0, 1.0),
    _row("a", "fsession", "jmp", 40.0, 0.8),
)


@pytest.fixture
def records() -> Records:
    axes = {"entry": ["call", "jmp"]}
    return Records({"function": "f", "axes": axes, "basis": "b"}, ROWS)


def test_lines_are_machines_and_columns_scenarios(records: Records) -> None:
    lines = [line.split() for line in sweep_text(records, output="file").splitlines()]
    assert ["call", "100.0", "110.0"] in lines
    assert ["jmp", "50.0", "40.0"] in lines
    assert "f on x86_64, core a, kernel 7.2, plain returns" in sweep_text(records)


def test_an_untraced_call_stands_in_every_line(records: Records) -> None:
    text = sweep_text(records, "cycles_per_call", "file")
    assert [line.split()[1] for line in text.splitlines() if line[1:5] in ("call", "jmp ")] == [
        "3.0",
        "3.0",
    ]


def test_the_sentence_names_both_ends(records: Records) -> None:
    (sentence,) = sweep_sentences(records)
    assert "0.80 (jmp) to 1.10 (call) times" in sentence
    assert "less than 1 in 1 of 2 rows" in sentence


def test_a_refusal_is_a_cell_with_its_reason_below(records: Records) -> None:
    refused = {k: v for k, v in ROWS[2].items() if k[:6] not in ("cycles", "over_p")}
    rows = (*ROWS[:2], {**refused, "refused": "no fsession (EINVAL)"})
    text = sweep_markdown(Records(records.meta, rows))
    assert "| call | 100.0 | refused |" in text
    assert "no fsession (EINVAL)" in text


def test_a_field_that_no_row_has_is_refused(records: Records) -> None:
    rows = tuple({k: v for k, v in row.items() if k != "image_bytes"} for row in ROWS)
    with pytest.raises(InputError, match="no row has image_bytes"):
        sweep_text(Records(records.meta, rows), "image_bytes")


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_has_a_table(field: str, records: Records) -> None:
    assert FIELDS[field] in sweep_markdown(records, field)
