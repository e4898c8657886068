"""Arrival sources against the laws that they claim to follow."""

import math
from itertools import pairwise
from statistics import fmean, pvariance

import pytest

from tramposim.errors import InputError
from tramposim.schedule.arrivals import (
    Arrivals,
    OnOff,
    Pareto,
    Periodic,
    Poisson,
    Replay,
    Stepped,
    arrival_source,
)  # fmt: skip
from tramposim.schedule.clock import Clock

CLOCK = Clock(3e9)
MANY = 100_000


def times(arrivals: Arrivals, count: int = MANY, seed: int = 1, stream: int = 0) -> list[float]:
    source = arrival_source(arrivals, CLOCK, seed, stream)
    return [CLOCK.to_seconds(time) for time in source.take(count)]


def gaps(arrivals: Arrivals) -> list[float]:
    found = times(arrivals)
    return [after - before for before, after in pairwise(found)]


@pytest.mark.parametrize("rate", [1.0, 3.0, 49_999.7, 1e6, 7e8])
def test_periodic_calls_do_not_drift(rate: float) -> None:
    for k, time in enumerate(times(Periodic(rate))):
        assert abs(time - k / rate) <= max(1e-14, 1e-15 * time)


def test_poisson_gaps_are_exponential() -> None:
    sample = gaps(Poisson(50_000))
    assert fmean(sample) == pytest.approx(1 / 50_000, rel=4 / math.sqrt(MANY))
    for quantile in (0.1, 0.5, 0.9, 0.99):
        below = sum(gap * 50_000 <= -math.log(1 - quantile) for gap in sample) / len(sample)
        assert abs(below - quantile) < 4 * math.sqrt(quantile * (1 - quantile) / MANY)


def test_poisson_counts_have_the_variance_of_their_mean() -> None:
    found = times(Poisson(50_000))
    counts = [0] * int(found[-1] / 1e-3)
    for time in found:
        if time < len(counts) * 1e-3:
            counts[int(time / 1e-3)] += 1
    assert pvariance(counts) / fmean(counts) == pytest.approx(1, abs=4 * math.sqrt(2 / len(counts)))


def test_on_off_keeps_the_mean_rate_and_bursts() -> None:
    arrivals = OnOff(rate_hz=50_000, on_s=1e-3, off_s=4e-3)
    assert arrivals.burst_rate_hz == pytest.approx(250_000)
    found = times(arrivals)
    assert len(found) / found[-1] == pytest.approx(50_000, rel=0.15)
    counts = [0] * int(found[-1] / 1e-3)
    for time in found:
        if time < len(counts) * 1e-3:
            counts[int(time / 1e-3)] += 1
    # a Markov-modulated count varies far more than a Poisson one
    assert pvariance(counts) / fmean(counts) > 20


def test_pareto_gaps_follow_their_tail() -> None:
    shape = 2.5
    sample = gaps(Pareto(50_000, shape))
    smallest = (shape - 1) / shape / 50_000
    assert min(sample) == pytest.approx(smallest, rel=1e-3)
    for factor in (1.5, 3, 10):
        beyond = sum(gap > factor * smallest for gap in sample) / len(sample)
        truth = factor**-shape
        assert abs(beyond - truth) < 4 * math.sqrt(truth / MANY)


def test_stepped_rates_hold_in_their_steps() -> None:
    steps = ((1e-3, 100_000.0), (2e-3, 0.0), (1e-3, 400_000.0))
    found = times(Stepped(steps))
    cycles = found[-1] / 4e-3
    place = [time % 4e-3 for time in found]
    assert not any(1e-3 < moment < 3e-3 for moment in place)
    first = sum(moment <= 1e-3 for moment in place)
    assert first == pytest.approx(100 * cycles, abs=4 * math.sqrt(100 * cycles) + 100)
    assert len(found) - first == pytest.approx(400 * cycles, rel=0.03)
    # within a step calls lie anywhere with the same chance
    early = sum(moment <= 5e-4 for moment in place)
    assert early == pytest.approx(first / 2, abs=4 * math.sqrt(first) / 2)


def test_one_step_is_a_poisson_process() -> None:
    sample = gaps(Stepped(((1e-5, 50_000.0),)))
    assert fmean(sample) == pytest.approx(1 / 50_000, rel=4 / math.sqrt(MANY))
    assert pvariance(sample) == pytest.approx(1 / 50_000**2, rel=4 * math.sqrt(8 / MANY))


def test_replay_gives_the_recorded_times() -> None:
    assert times(Replay((0.0, 1e-3, 1e-3, 5.0))) == pytest.approx([0, 1e-3, 1e-3, 5], abs=1e-14)


def test_seeds_and_streams_decide_the_arrivals() -> None:
    poisson = Poisson(1000)
    assert times(poisson, 10, seed=5) == times(poisson, 10, seed=5)
    assert times(poisson, 10, seed=5) != times(poisson, 10, seed=6)
    assert times(poisson, 10, seed=5) != times(poisson, 10, seed=5, stream=1)


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        (Poisson(0), "positive"),
        (Poisson(4e9), "one call per cycle"),
        (Pareto(1000, 1.0), "shape"),
        (OnOff(1, 1e-9, 1e-9), "thousandth of the gap"),
        (OnOff(1000, 1e-9, 10), "one call per cycle"),
        (Stepped(()), "thousandth of a call"),
        (Stepped(((1.0, 0.0),)), "thousandth of a call"),
        (Stepped(((0.0, 5.0),)), "must end after"),
        (Replay((1.0, 0.5)), "before its predecessor"),
        (Replay((-1.0,)), "cannot be simulated"),
    ],
)
def test_impossible_arrivals_are_refused(arrivals: Arrivals, said: str) -> None:
    with pytest.raises(InputError, match=said):
        arrival_source(arrivals, CLOCK, 1, 0)
