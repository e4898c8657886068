"""Units: how cycles, times, rates and sizes are converted and printed.

Every number that a user sees goes through a function of this module, so that units are
spelled one way. Cycles are core cycles of the named core model, never TSC ticks.
"""

from __future__ import annotations

import re

from tramposim.errors import InputError

__all__ = ["cycles_to_ns", "format_cycles", "parse_bytes", "parse_duration_s", "parse_rate_hz"]

_SI = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)"
_TIME = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}


def cycles_to_ns(cycles: float, clock_ghz: float) -> float:
    """Nanoseconds that `cycles` take at `clock_ghz`."""
    return cycles / clock_ghz


def format_cycles(cycles: float) -> str:
    """Cycles with one decimal, as all tables print them."""
    return f"{cycles:,.1f}"


def parse_rate_hz(text: str, where: str = "rate") -> float:
    """Calls per second from `1000`, `50k`, `1.5M`, optionally followed by `/s` or `Hz`.

    Raises `InputError` for anything else, or a rate that is not positive and finite.
    """
    match = re.fullmatch(rf"\s*{_NUMBER}\s*([kKMG]?)\s*(?:/s|Hz)?\s*", text)
    rate = float(match[1]) * _SI[match[2]] if match else 0.0
    if not 0.0 < rate < 1e12:
        raise InputError(f"{text!r} is not a call rate; write for example 50k or 1.5M/s", where)
    return rate


def parse_duration_s(text: str, where: str = "duration") -> float:
    """Seconds from `2s`, `10ms`, `500us`; a bare number is seconds.

    Raises `InputError` for anything else, or a duration that is not positive and finite.
    """
    match = re.fullmatch(rf"\s*{_NUMBER}\s*(ns|us|µs|ms|min|s|)\s*", text)
    seconds = float(match[1]) * _TIME[match[2] or "s"] if match else 0.0
    if not 0.0 < seconds < 1e7:
        raise InputError(f"{text!r} is not a duration; write for example 10ms or 2s", where)
    return seconds


_BINARY = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def parse_bytes(text: str, where: str = "size") -> int:
    """Bytes from `4096`, `64KiB`, `1.5MiB`, `2GiB`.

    Raises `InputError` for anything else, or more than 1 TiB.
    """
    match = re.fullmatch(rf"\s*{_NUMBER}\s*([KMGT]iB)?\s*", text)
    size = round(float(match[1]) * _BINARY[match[2] or ""]) if match else -1
    if not 0 <= size <= 1 << 40:
        raise InputError(f"{text!r} is not a size; write for example 64KiB or 1.5MiB", where)
    return size
