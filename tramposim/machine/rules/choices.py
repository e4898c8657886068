"""Choices: what the callees of an image answer, so that every branch goes both ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Choices", "choices_for"]

_STARTS = (1, 0x8000_0000_0000_0000, 0x1_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_8000_0000)
"""Start times that are not zero, in all ways in which a comparison could look at them."""
_RETURNS = (0xFFFF_FFFF_FFFF_FFFF, 0x1_0000_0000, 1, 0x8000_0000_0000_0000, 0x8000_0000)
"""Return values that are not zero, likewise."""


@dataclass(frozen=True, slots=True)
class Choices:
    """One way through an image.

    `starts[n]` is what enter returns for the n-th program call (0: the body is skipped),
    `returns[n]` what its body returns; `name` says it in words.
    """

    name: str
    starts: tuple[int, ...]
    returns: tuple[int, ...]


def choices_for(fentry: int, fmod_ret: int, fexit: int) -> Iterator[Choices]:
    """The ways through an image with so many programs on its lists.

    All bodies run; all are skipped; every second one is; and for every fmod_ret program one
    way in which it is the first that returns non-zero.
    """
    count = fentry + fmod_ret + fexit

    def made(name: str, runs: range | tuple[int, ...], shift: int, stops: int = -1) -> Choices:
        starts = [
            _STARTS[(index + shift) % len(_STARTS)] if index in runs else 0
            for index in range(count)
        ]
        returns = [
            _RETURNS[(index + shift) % len(_RETURNS)]
            if not fentry <= index < fentry + fmod_ret or index == stops
            else 0
            for index in range(count)
        ]
        return Choices(name, tuple(starts), tuple(returns))

    everything = range(count)
    yield made("every body runs", everything, 0)
    if not count:
        return
    for shift in range(1, len(_STARTS)):
        yield made(f"every body runs, values {shift}", everything, shift)
    yield made("every enter returns 0", (), 0)
    if count > 1:
        yield made("even bodies run", tuple(everything)[::2], 1)
        yield made("odd bodies run", tuple(everything)[1::2], 2)
    for number in range(fmod_ret):
        for shift in range(len(_RETURNS) if fmod_ret < 4 else 2):
            yield made(
                f"fmod_ret program {number} returns non-zero", everything, shift, fentry + number
            )
