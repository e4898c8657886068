"""The curve over the call rate: its table, and where one scenario begins to win."""

from __future__ import annotations

from tramposim.report.curve import crossovers, curve_markdown, curve_plots, curve_text
from tramposim.study.records import Records, Value


def _row(scenario: str, rate: float, over: float, saturated: bool = False) -> dict[str, Value]:
    return {
        "arch": "x86_64",
        "core": "c",
        "kernel": "7.2",
        "scenario": scenario,
        "body": "count",
        "cpus": 1,
        "clock_ghz": 3.0,
        "offered_calls_per_s": rate,
        "cycles_over_untraced": over,
        "saturated": saturated,
    }


ROWS = [
    *(_row("fentry+fexit", rate, over) for rate, over in ((1.0, 200.0), (100.0, 100.0))),
    *(_row("fsession", rate, over) for rate, over in ((1.0, 150.0), (100.0, 150.0))),
]


def test_a_crossover_lies_where_the_difference_changes_sign() -> None:
    # 50 saved at 1/s, 50 lost at 100/s: on a logarithmic axis the middle is 10/s
    (sentence,) = crossovers(ROWS)
    assert "wins below about 10 calls/s" in sentence
    assert "saves 50.0 cycles per call at 1/s and loses 50.0 at 100/s" in sentence


def test_saturated_rates_decide_nothing() -> None:
    rows = [*ROWS, _row("fentry+fexit", 1e6, 10.0, True), _row("fsession", 1e6, 500.0, True)]
    assert crossovers(rows) == crossovers(ROWS)
    always = [row for row in ROWS if row["offered_calls_per_s"] == 1.0]
    assert "wins at every rate" in crossovers(always)[0]


def test_the_table_has_a_row_per_rate() -> None:
    records = Records({"workload": "w", "basis": "b"}, tuple(ROWS))
    for text in (curve_text(records, "file"), curve_markdown(records)):
        assert "fsession" in text
        assert "200.0" in text
        assert "wins below" in text


def test_the_pictures_show_costs_and_mark_the_crossover() -> None:
    cost, saved = curve_plots(ROWS, "salt")
    assert "fentry+fexit count" in cost
    assert "fsession count" in saved
    assert "10/s" in saved
    assert "salt-saved-" in saved
    assert curve_plots(ROWS, "salt") == (cost, saved)


def test_a_session_is_drawn_against_every_pair_that_it_stands_for() -> None:
    def of(scenario: str, body: str, over: float) -> list[dict[str, Value]]:
        return [_row(scenario, rate, over) | {"body": body} for rate in (1.0, 100.0)]

    rows = [
        *of("fentry+fexit", "latency-hash", 300.0),
        *of("fentry+fexit", "latency-stack", 200.0),
        *of("fsession+cookie", "latency-cookie", 100.0),
    ]
    assert len(crossovers(rows)) == 2
    _, saved = curve_plots(rows, "salt")
    for pair in ("latency-hash", "latency-stack"):
        assert f"fsession+cookie latency-cookie against fentry+fexit {pair}" in saved
