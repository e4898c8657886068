"""Who waited for whom in a recorded pass: writers of registers, stores behind loads, order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tramposim.machine.trace import STORE
from tramposim.timing.prepare import PreparedTrace
from tramposim.timing.stages import Recording
from tramposim.timing.uops import Kind, UopFlag

__all__ = ["Access", "Chains", "chains_of"]

_FUSED_HEAD, _ORDERS_LOADS, _PAIR = 2, 8, 32
_NO_REGISTER = 255
_LOCKED, _DRAINS = int(UopFlag.LOCKED), int(UopFlag.DRAIN)

Access = tuple[int, int]
"""Address and bytes."""


@dataclass(slots=True)
class Chains:
    """Columns by position (of executed instructions) and by uop (of all, in program order).

    `first[p]` is the first uop of position p (`first[p + 1]` the one after its last),
    `position[j]` the position of uop j; `kind`, `flags`, `latency`, `occupancy` and `pool` are
    those of its static record. `writer[j]` is the uop that wrote the source that came last,
    `store[j]` the data uop of the store that a load may have its value from (-1: older than the
    pass, or none). `order[j]` are uops that a loading, locked or draining uop may have had to
    wait for besides, `accesses[j]` is the memory that a load or store address uop names; `loads`
    and `stores` (address uops) are in program order.
    """

    first: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    latency: list[int] = field(default_factory=list)
    occupancy: list[int] = field(default_factory=list)
    pool: list[int] = field(default_factory=list)
    writer: list[int] = field(default_factory=list)
    store: list[int] = field(default_factory=list)
    order: dict[int, tuple[int, ...]] = field(default_factory=dict)
    accesses: dict[int, Access] = field(default_factory=dict)
    loads: list[int] = field(default_factory=list)
    stores: list[int] = field(default_factory=list)


def chains_of(prepared: PreparedTrace, recording: Recording) -> Chains:
    """The chains of one pass."""
    order, accesses = recording.order, recording.accesses
    insns, uops = prepared.code.insns, prepared.code.uops
    numbers = order.tolist()
    flags = insns["flags"].tolist()
    memory = _memory(accesses, [flags[number] for number in numbers])
    builder = _Builder(recording, uops)
    begins, counts = insns["first"].tolist(), insns["uops"].tolist()
    for position, number in enumerate(numbers):
        reads, writes = memory.get(position, ([], []))
        statics = range(begins[number], begins[number] + counts[number])
        builder.add(position, statics, flags[number], reads, writes)
    builder.found.first.append(len(builder.found.kind))
    return builder.found


def _memory(
    accesses: NDArray[np.void], flags: Sequence[int]
) -> dict[int, tuple[list[Access], list[Access]]]:
    """Reads and writes by position; a fused instruction's are those of the branch behind it."""
    found: dict[int, tuple[list[Access], list[Access]]] = {}
    columns = (accesses[name].tolist() for name in ("insn", "address", "size", "flags"))
    for position, address, size, kind in zip(*columns, strict=True):
        position += bool(flags[position] & _FUSED_HEAD)
        sides = found.setdefault(position, ([], []))
        sides[bool(kind & STORE)].append((address, size))
    return found


class _Builder:
    """Adds instruction after instruction, knowing the last writer of everything."""

    def __init__(self, recording: Recording, uops: NDArray[np.void]) -> None:
        self.found = Chains()
        columns = ("kind", "flags", "latency", "occupancy", "pool")
        self._statics = list(zip(*(uops[name].tolist() for name in columns), strict=True))
        results = zip(*(uops[f"dst{n}"].tolist() for n in range(4)), strict=True)
        self._results = [tuple(n for n in row if n != _NO_REGISTER) for row in results]
        self._sources, self._done = (recording.uops[name].tolist() for name in ("source", "done"))
        self._writer: dict[int, int] = {}
        self._stored: dict[int, int] = {}
        self._slowest = self._memory = self._fence = -1

    def add(
        self,
        position: int,
        statics: Iterable[int],
        insn_flags: int,
        reads: Iterable[Access],
        writes: Iterable[Access],
    ) -> None:
        """The next instruction, of the static uops `statics`."""
        found = self.found
        found.first.append(len(found.kind))
        reads, writes = iter(reads), iter(writes)
        finished = self._slowest
        written: list[Access] = []
        for static in statics:
            j = len(found.kind)
            kind, flags, latency, occupancy, pool = self._statics[static]
            found.position.append(position)
            found.kind.append(kind)
            found.flags.append(flags)
            found.latency.append(latency)
            found.occupancy.append(occupancy)
            found.pool.append(pool)
            found.writer.append(self._writer.get(self._sources[j], -1))
            found.store.append(-1)
            if flags & _DRAINS:
                found.order[j] = (self._slowest,)
            if kind == Kind.LOAD:
                self._load(j, flags, insn_flags, next(reads, None))
            elif kind == Kind.STORE_ADDRESS:
                found.stores.append(j)
                written = list(_taken(writes, 1 << 30 if insn_flags & _PAIR else 1))
                if written:
                    found.accesses[j] = written[0]
            elif kind == Kind.STORE_DATA:
                for address, size in written:
                    self._stored.update(dict.fromkeys(range(address, address + size), j))
            finished = self._later(finished, j)
            self._writer.update(dict.fromkeys(self._results[static], j))
        self._slowest = finished

    def _load(self, j: int, flags: int, insn_flags: int, access: Access | None) -> None:
        found = self.found
        last_store = found.stores[-1] if found.stores else -1
        locked = bool(flags & _LOCKED)
        found.order[j] = (self._fence, *((self._memory, last_store) if locked else ()))
        found.loads.append(j)
        if access:
            found.accesses[j] = access
            stores = (self._stored.get(byte, -1) for byte in range(access[0], sum(access)))
            found.store[j] = max(stores, default=-1)
        self._memory = self._later(self._memory, j)
        if locked or insn_flags & _ORDERS_LOADS:
            self._fence = self._later(self._fence, j)

    def _later(self, one: int, other: int) -> int:
        """The uop that is done last."""
        return other if one < 0 or self._done[other] >= self._done[one] else one


def _taken(accesses: Iterator[Access], most: int) -> Iterator[Access]:
    for _ in range(most):
        access = next(accesses, None)
        if access is None:
            return
        yield access
