"""Traces of captured images by boot variant and record id."""

from __future__ import annotations

from pathlib import Path

from tramposim.machine.trace import Trace
from tramposim.study.replay import replay_trace


def image_trace(directory: Path, variant: str, case: str, calls: int = 8) -> Trace:
    """Trace of `calls` calls of the function that record `case` of `variant` traces."""
    return replay_trace(directory / f"{variant}-trampolines.jsonl.xz", case, calls)
