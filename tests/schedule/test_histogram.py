"""The latency histogram against sorting the values themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tramposim._native.histogram import LatencyHistogram, bucket_range

values = st.lists(st.integers(0, 2**62), min_size=1, max_size=200)


def filled(numbers: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for number in numbers:
        histogram.record(number)
    return histogram


@given(values, st.sampled_from([0, 1, 50, 90, 99, 99.9, 100]))
def test_percentile_is_the_sorted_value_to_one_part_in_512(
    numbers: list[int], percent: float
) -> None:
    rank = max(1, -(-len(numbers) * percent // 100))
    truth = sorted(numbers)[int(rank) - 1]
    found = filled(numbers).percentile(percent)
    assert truth <= found <= truth + truth / 512


@given(values, values)
def test_merge_is_as_if_recorded_together(left: list[int], right: list[int]) -> None:
    merged = filled(left)
    merged.merge(filled(right))
    assert (merged.count, merged.total) == (len(left + right), sum(left + right))
    assert (merged.minimum, merged.maximum) == (min(left + right), max(left + right))
    assert sum(count for _, _, count in merged.buckets()) == len(left + right)


def test_total_does_not_overflow() -> None:
    histogram = filled([2**62] * 9)
    assert histogram.total == 9 * 2**62


def test_buckets_cover_all_values_without_gap() -> None:
    following = 0
    for bucket in range(28160):
        low, high = bucket_range(bucket)
        assert low == following
        following = high + 1
    assert following == 2**63


def test_an_empty_histogram_is_zero() -> None:
    histogram = LatencyHistogram()
    assert (histogram.percentile(99), histogram.minimum, histogram.maximum) == (0, 0, 0)


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        LatencyHistogram().record(-1)
    with pytest.raises(ValueError, match="between 0 and 100"):
        LatencyHistogram().percentile(101)
