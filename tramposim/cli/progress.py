"""Progress on stderr: only on a terminal, and only for work that takes over a second."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar", "progress"]

_PATIENCE_S = 1.0


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Give a function that is told each step's name; it shows one updating line."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    started = time.monotonic()
    shown = False

    def report(step: str) -> None:
        nonlocal shown
        seconds = time.monotonic() - started
        if seconds > _PATIENCE_S:
            shown = True
            width = shutil.get_terminal_size().columns
            sys.stderr.write(f"\r\x1b[K{f'{what}: {step} ({seconds:.0f} s)'[: width - 1]}")
            sys.stderr.flush()

    try:
        yield report
    finally:
        if shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def bar(share: float, width: int = 12) -> str:
    """A bar of which `share` (0 to 1) is done."""
    full = round(2 * width * min(max(share, 0.0), 1.0))
    return f"{'━' * (full // 2)}{'╸' * (full % 2)}".ljust(width, "─")
