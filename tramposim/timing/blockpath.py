"""A block's cycles by the critical path of many iterations: the rule of `explain`."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from tramposim._native.pipeline import Pipeline
from tramposim.timing.core import Core
from tramposim.timing.critical import critical_path
from tramposim.timing.decode import StaticCode
from tramposim.timing.prepare import PreparedTrace
from tramposim.timing.stages import record_calls

__all__ = ["path_causes"]


def path_causes(
    pipeline: Pipeline,
    core: Core,
    code: StaticCode,
    order: NDArray[np.int32],
    accesses: NDArray[np.void],
    warm: int,
    cycles: float,
) -> dict[str, float]:
    """`cycles` by the reasons of links of the critical path, largest first.

    `order` and `accesses` are iterations, executed once more on `pipeline` as it is. The path
    counts from when the first `warm` instructions have retired.
    """
    marks = np.array([0, warm, len(order)], dtype=np.int64)
    prepared = PreparedTrace(order, accesses, marks, code.insns["pc"].tolist(), code)
    recording = record_calls(pipeline, prepared, range(prepared.call_count))
    begin = int(recording.stages["retired"][warm - 1])
    found: dict[str, float] = defaultdict(float)
    for link in critical_path(prepared, core, recording):
        counted = link.begin + link.cycles - max(begin, link.begin)
        if counted > 0:
            found[link.reason] += counted
    total = sum(found.values())
    scale = cycles / total if total else 0.0
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return {reason: taken * scale for reason, taken in ordered}
