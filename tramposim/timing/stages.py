"""When instructions passed the stages of the pipeline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["STAGES", "count_from"]

STAGES = np.dtype(
    [(name, "<i8") for name in ("delivered", "renamed", "issued", "executed", "retired")]
    + [("bubbles", "<u2")]
    + [(name, "u1") for name in ("mispredicted", "forwarded", "memory_renamed", "blocked")]
    + [("uops", "<u2")]
)
"""Layout of `StageRec` in `_native/stages.pxd`: cycles in which an instruction passed the
stages (`issued` -1: no port was needed), and counts of what befell it."""


def count_from(stages: NDArray[np.void], start: int) -> None:
    """Let the cycles of `stages` count from cycle `start`."""
    for name in ("delivered", "renamed", "executed", "retired"):
        stages[name] -= start
    stages["issued"] -= np.where(stages["issued"] < 0, 0, start)
