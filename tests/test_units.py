import pytest

from tramposim.errors import InputError
from tramposim.units import parse_duration_s, parse_rate_hz


@pytest.mark.parametrize(
    ("text", "hertz"), [("1000", 1e3), ("50k", 5e4), ("1.5M/s", 1.5e6), (" 2 kHz", 2e3)]
)
def test_rates(text: str, hertz: float) -> None:
    assert parse_rate_hz(text) == hertz


@pytest.mark.parametrize(
    ("text", "seconds"), [("2", 2.0), ("10ms", 0.01), ("500us", 5e-4), ("1 min", 60.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-5", "fast", "1e99", "nan", "1k/h"])
def test_what_is_not_a_rate_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--rate: .* is not a call rate"):
        parse_rate_hz(text, "--rate")


@pytest.mark.parametrize("text", ["", "0s", "-1s", "soon", "1e99", "5 days"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a duration"):
        parse_duration_s(text)
