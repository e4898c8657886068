"""Lines of a call that other CPUs use too: which they write, and which they keep in the last level.

Of the lines that a call writes, those of plain arrays and atomic references are written by calls
on every CPU. A bucket of a hash map (its head and its lock, 16 bytes) is written by whoever
inserts or deletes a key that belongs there, its line by whoever does so in one of the four
buckets of a line. What belongs to a thread stays behind when it moves to another CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.machine.traced import TracedFunction
from tramposim.schedule.contention import BUCKETS, EVERY_CALL, TASK
from tramposim.spec import Map, MapType
from tramposim.timing.footprint import Footprint

__all__ = ["SharedLines", "shared_lines"]

_LINE = 64
_BUCKET = 16
"""sizeof(struct bucket) of kernel/bpf/hashtab.c: a list head and a lock, padded."""

_FOR_ALL = (MapType.ARRAY, MapType.QUEUE, MapType.STACK)
"""Maps whose values lie beside the map and are those of all CPUs."""

_OF_ONE_CPU = ("CPU ", "elements of ", "buckets of ", "argument ")
_OF_A_TASK = ("task of ", "stack of ", "elements of ", "argument ")


@dataclass(frozen=True, slots=True)
class SharedLines:
    """Addresses of lines.

    `by_group`: what other CPUs write, by `EVERY_CALL`, `BUCKETS`, `TASK`. `bucket_lines`: how
    many lines the buckets of the smallest written map take in all. `common`: what calls on every
    CPU use, so that each keeps it in the shared last level for all.
    """

    by_group: tuple[NDArray[np.uint64], ...]
    bucket_lines: int
    common: NDArray[np.uint64]

    @property
    def groups(self) -> int:
        """Groups up to the last one that has lines."""
        return max((n for n, lines in enumerate(self.by_group, 1) if len(lines)), default=0)

    def written(self, mask: int) -> NDArray[np.uint64]:
        """The lines of the groups in a bit mask."""
        chosen = [lines for n, lines in enumerate(self.by_group) if mask >> n & 1]
        return np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, np.uint64)


def shared_lines(
    world: TracedFunction, footprint: Footprint, migrating: bool = False
) -> SharedLines:
    """The lines of a call that other CPUs use, by their names in the guest's memory."""
    memory = world.guest.memory
    maps = {name: placed.map for name, placed in world.guest.maps.items()}
    shared = {"percpu_ref_data", *map(_shared_block, maps.values())} - {""}

    def names(line: int) -> list[str]:
        return [memory.name_at(at) for at in range(line, line + _LINE, 8)]

    def is_written(line: int) -> Iterator[tuple[int, bool]]:
        found = names(line)
        yield EVERY_CALL, any(name in shared for name in found)
        yield BUCKETS, any(name.startswith("buckets of ") for name in found)
        yield TASK, migrating and any(name.startswith(_OF_A_TASK) for name in found)

    by_group: tuple[list[int], ...] = ([], [], [])
    for line in footprint.written_lines.tolist():
        for group, holds in is_written(line):
            if holds:
                by_group[group].append(line)
    used = [*footprint.code_lines.tolist(), *footprint.data_lines.tolist()]
    common = {
        line
        for line in used
        if not any(mark in name for name in names(line) for mark in _OF_ONE_CPU)
    }
    written = {
        name.removeprefix("buckets of ") for line in by_group[BUCKETS] for name in names(line)
    }
    return SharedLines(
        tuple(np.array(lines, dtype=np.uint64) for lines in by_group),
        min((_bucket_lines(maps[name]) for name in written if name in maps), default=0),
        np.array(sorted(common), dtype=np.uint64),
    )


def _shared_block(declared: Map) -> str:
    """The block of memory with what a map's users on all CPUs write; empty if there is none."""
    if declared.type is MapType.RINGBUF:
        return f"ring of {declared.name}"
    return f"map {declared.name}" if declared.type in _FOR_ALL else ""


def _bucket_lines(declared: Map) -> int:
    """Lines of a hash map's buckets: as many buckets as entries, rounded up to a power of two."""
    buckets = 1 << max(0, declared.max_entries - 1).bit_length()
    return max(1, buckets * _BUCKET // _LINE)
