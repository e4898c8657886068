"""Many blocks: each timed for itself, in order, by as many processes as there are CPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tramposim.errors import TramposimError
from tramposim.timing.core import Core
from tramposim.timing.throughput import BlockTimer, Mode, Rule, Throughput

__all__ = ["time_blocks"]

_CHUNK = 100
"""Blocks that a process takes at a time; fewer than two chunks are not worth a process."""


def time_blocks(
    blocks: Sequence[bytes],
    core: Core,
    mode: Mode = "unroll",
    jobs: int | None = None,
    rule: Rule = "stalls",
) -> list[Throughput | TramposimError]:
    """Throughput of each block on `core` (see `throughput`), or the error that says why it has
    none.

    `jobs` processes share the work (None: one per CPU that this process may use); the results
    do not depend on how many.
    """
    chunks = [blocks[at : at + _CHUNK] for at in range(0, len(blocks), _CHUNK)]
    jobs = min(len(os.sched_getaffinity(0)) if jobs is None else jobs, len(chunks))
    work = partial(_chunk, core=core, mode=mode, rule=rule)
    if jobs < 2:
        return [result for chunk in chunks for result in work(chunk)]
    with ProcessPoolExecutor(jobs) as pool:
        return [result for results in pool.map(work, chunks) for result in results]


def _chunk(
    blocks: Sequence[bytes], core: Core, mode: Mode, rule: Rule
) -> list[Throughput | TramposimError]:
    timer = BlockTimer(core, mode, rule)
    results: list[Throughput | TramposimError] = []
    for block in blocks:
        try:
            results.append(timer.time(block))
        except TramposimError as error:
            results.append(error)
    return results
