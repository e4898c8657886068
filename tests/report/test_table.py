import io

from rich.console import Console

from tramposim.report.columns import Column, format_value
from tramposim.report.table import TextTable

COLUMNS = (Column("name", "name", text=True), Column("cycles", "cycles"), Column("bytes", "bytes"))
ROWS = ({"name": "fsession", "cycles": 68.5, "bytes": 237}, {"name": "untraced", "cycles": 3.0})


def lines(width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(TextTable(COLUMNS, ROWS, "title"))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_all_columns_where_they_fit() -> None:
    assert lines(40)[2].split() == ["name", "cycles", "bytes"]
    assert " fsession    68.5    237" in lines(40)


def test_columns_that_do_not_fit_are_left_out_and_named() -> None:
    assert " fsession    68.5" in lines(20)
    assert "Not shown for lack of width: bytes." in " ".join(lines(20))


def test_numbers_are_never_cut() -> None:
    for width in range(10, 60):
        assert not any("…" in line for line in lines(width))


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert format_value(Column("over", "over"), {"over": -0.04}) == "0.0"
