"""Values as options are given: numbers of 64 bits."""

from __future__ import annotations

__all__ = ["number"]


def number(text: str) -> int:
    """A 64-bit number, decimal or 0x hexadecimal; `ValueError` for any other text."""
    value = int(text, 0)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(text)
    return value
