"""Rank correlation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt

__all__ = ["kendall_tau"]


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b of two equally long series, in O(n log n); 0 if either is constant.

    Source: W. R. Knight, "A Computer Method for Calculating Kendall's Tau with Ungrouped
    Data", JASA 61 (1966).
    """
    pairs = sorted(zip(first, second, strict=True))
    count = len(pairs)
    total = count * (count - 1) // 2
    tied_first = _ties(x for x, _ in pairs)
    tied_second = _ties(y for _, y in pairs)
    tied_both = _ties(pairs)
    swaps = _swaps([y for _, y in pairs])[1]
    spread = (total - tied_first) * (total - tied_second)
    if not spread:
        return 0.0
    return (total - tied_first - tied_second + tied_both - 2 * swaps) / sqrt(spread)


def _ties(values: Iterable[object]) -> int:
    """Pairs of equal values."""
    return sum(n * (n - 1) // 2 for n in Counter(values).values())


def _swaps(values: list[float]) -> tuple[list[float], int]:
    """The values sorted, and how many pairs were out of order."""
    if len(values) < 2:
        return values, 0
    middle = len(values) // 2
    left, swaps_left = _swaps(values[:middle])
    right, swaps_right = _swaps(values[middle:])
    merged: list[float] = []
    swaps = swaps_left + swaps_right
    at = 0
    for value in left:
        while at < len(right) and right[at] < value:
            merged.append(right[at])
            at += 1
        swaps += at
        merged.append(value)
    return merged + right[at:], swaps
