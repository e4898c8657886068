"""The critical path: which chain of events took a recorded pass its cycles.

Every stage of the core model takes the latest of several times: an instruction is renamed when
it is delivered, when a slot is free and when the buffers have room; its uops start when they
are renamed, when their sources are there and when a port is free; it retires in order. Walked
back from the last retirement, always to the event that was waited for, these leave one chain
whose links tile the pass: their cycles sum to it. The graph is that of Fields, Rubin and Bodik
("Focusing processor policies via critical-path prediction", ISCA 2001); waiting for a port is
a link of the uop that waits, as there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tramposim._native.pipeline import CAUSES
from tramposim.timing.calls import Miss
from tramposim.timing.chains import chains_of
from tramposim.timing.core import Core
from tramposim.timing.missed import Missed
from tramposim.timing.prepare import PreparedTrace
from tramposim.timing.stages import Recording
from tramposim.timing.uops import Kind, UopFlag

__all__ = ["GROUPS", "Link", "critical_path", "group_of"]

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "front end": (
            "uop cache", "decode", "length-changing prefix", "loop buffer", "taken branch",
            "branch prediction",
        ),
        "misprediction": ("misprediction",),
        "cold misses": ("code line", "code page", "data line", "data page", "branch target"),
        "ports": ("unpipelined unit",),
        "latency chain": ("execution latency", "load latency", "issue"),
        "forwarding": (
            "store forwarding", "memory renaming", "blocked store forwarding", "4K aliasing",
        ),
        "serialising": ("serialisation", "locked operation"),
        "widths and buffers": (
            "rename width", "retire width", "reorder buffer", "scheduler", "load buffer",
            "store buffer", "store commit",
        ),
    }
)  # fmt: skip
"""Reasons of links by what a reader wants to know; "port X" belongs to the ports."""

_FORWARDING = ("store forwarding", "blocked store forwarding")
_GROUP_OF = {reason: group for group, reasons in GROUPS.items() for reason in reasons}
_CODE = {name: number for number, name in enumerate(CAUSES)}
_IN_FRONT = {_CODE[name] for name in CAUSES[: _CODE["rename width"]]} | {_CODE["memory access"]}
_MISPREDICTED, _SERIAL = _CODE["misprediction"], _CODE["serialisation"]
_REDIRECTS = (_MISPREDICTED, _SERIAL)
_MEMORY, _BUBBLE = _CODE["memory access"], _CODE["branch prediction"]
_LOOP = _CODE["loop buffer"]
_LOCKED, _DRAINS = int(UopFlag.LOCKED), int(UopFlag.DRAIN)
_BLOCKS, _BRANCHES = int(UopFlag.BLOCK), int(UopFlag.BRANCH)
_RETIRE, _DONE, _START, _RENAME, _DELIVER, _STOP = range(6)
_Event = tuple[int, int]


def group_of(reason: str) -> str:
    """The group of `GROUPS` that a link's reason belongs to."""
    return "ports" if reason.startswith("port ") else _GROUP_OF[reason]


@dataclass(frozen=True, slots=True)
class Link:
    """A stretch of a critical path: `cycles` from `begin` on that one instruction took.

    `position` is that of the instruction in the pass. `found` and `address` say where the line,
    page or branch was that the link waited for, if it is a cold miss.
    """

    position: int
    reason: str
    begin: int
    cycles: int
    found: str = ""
    address: int | None = None


def critical_path(
    prepared: PreparedTrace, core: Core, recording: Recording, missed: Missed | None = None
) -> list[Link]:
    """The links of the calls that count, in order of time; their cycles sum to the recording's.

    `missed` tells what a call from a cold state missed.
    """
    walk = _Walk(prepared, core, recording, missed or Missed(()))
    event: _Event = (_RETIRE, len(recording.stages) - 1)
    while walk.time > 0 and event[0] != _STOP:
        event = walk.step(*event)
    links = walk.links[::-1]
    if links[-1].begin + links[-1].cycles > recording.cycles:
        last = bisect_right(links, recording.cycles - 1, key=lambda link: link.begin)
        links = links[:last]
        links[-1] = replace(links[-1], cycles=recording.cycles - links[-1].begin)
    return links


class _Walk:
    """Goes back in time from event to event."""

    def __init__(
        self, prepared: PreparedTrace, core: Core, recording: Recording, missed: Missed
    ) -> None:
        stages, uops = recording.stages, recording.uops
        self.core = core
        self.missed = missed
        self.chains = chains_of(prepared, recording)
        self.pcs = prepared.code.insns["pc"][recording.order].tolist()
        self.first_of = {pc: position for position, pc in reversed([*enumerate(self.pcs)])}
        self.delivered, self.retired, self.resumed, self.fetched, self.committed = (
            stages[name].tolist()
            for name in ("delivered", "retired", "resumed", "fetched", "committed")
        )
        self.resumed_cause, self.delivered_cause, self.queued, self.mispredicted = (
            stages[name].tolist()
            for name in ("resumed_cause", "delivered_cause", "queued", "mispredicted")
        )
        self.renamed, self.ready, self.started, self.done, self.slot = (
            uops[name].tolist() for name in ("renamed", "ready", "started", "done", "slot")
        )
        self.cause, self.stalled, self.port = (
            uops[name].tolist() for name in ("cause", "stalled", "port")
        )
        self.memory_renamed = stages["memory_renamed"].tolist()
        self.left: dict[tuple[int, int], list[int]] = {}
        for j, start in enumerate(self.started):
            if start >= 0:
                self.left.setdefault((self.chains.pool[j], start), []).append(j)
        self.time = self.retired[-1]
        self.links: list[Link] = []

    def to(
        self, time: int, position: int, reason: str, found: str = "", address: int | None = None
    ) -> None:
        """Go back to `time`; what lies between is a link."""
        time = max(time, 0)
        if time < self.time:
            cycles = self.time - time
            self.links.append(Link(position, reason, time, cycles, found, address))
            self.time = time

    def step(self, kind: int, index: int) -> _Event:
        """From an event to the one that it waited for."""
        return (self._retire, self._finish, self._start, self._rename, self._deliver)[kind](index)

    def _retire(self, position: int) -> _Event:
        before = self.retired[position - 1] if position else 0
        if position and before == self.time:
            return _RETIRE, position - 1
        first, end = self.chains.first[position], self.chains.first[position + 1]
        last = max(range(first, end), key=lambda j: self.done[j], default=-1)
        done = self.done[last] if last >= 0 else -1
        renamed = self.renamed[end - 1] if end else -1
        if max(done, renamed) <= before:
            self.to(before, position, "retire width")
            return (_RETIRE, position - 1) if position else (_STOP, 0)
        self.to(max(done, renamed), position, "retire width")
        return (_DONE, last) if done >= renamed else (_RENAME, end - 1)

    def _finish(self, j: int) -> _Event:
        kind, position = self.chains.kind[j], self.chains.position[j]
        if kind == Kind.LOAD:
            return self._loaded(j)
        if kind == Kind.STORE_ADDRESS:
            self._missed(j, self.started[j] + 1)
        if kind <= Kind.STORE_DATA:
            blocks = self.chains.flags[j] & _BLOCKS
            self.to(self.started[j], position, "serialisation" if blocks else "execution latency")
            return _START, j
        writer = self.chains.writer[j]
        if kind == Kind.ELIMINATED and writer >= 0 and self.done[writer] > self.renamed[j]:
            self.to(self.done[writer], position, "execution latency")
            return _DONE, writer
        self.to(self.renamed[j], position, "issue")
        return _RENAME, j

    def _loaded(self, j: int) -> _Event:
        """A load's value is there: by its own access, from a store, or known from rename on."""
        position, data = self.chains.position[j], self.chains.store[j]
        cause = CAUSES[self.cause[j]] if self.cause[j] < len(CAUSES) else ""
        if self.memory_renamed[position]:
            writer = self.chains.writer[data] if data >= 0 else -1
            if writer >= 0 and self.renamed[j] + 1 < self.done[j]:
                self.to(self.done[writer], position, "memory renaming")
                return _DONE, writer
            self.to(self.renamed[j], position, "memory renaming")
            return _RENAME, j
        if cause == "4K aliasing":
            self.to(self.done[j] - int(self.core.memory.alias_wait.value), position, cause)
        if cause in _FORWARDING:
            wait = int(self.core.memory.forward_commit.value)
            if data > 0 and self.committed[self.chains.position[data]] + wait == self.done[j]:
                return self._committed(data - 1, position, cause)
            sources = (data - 1, data) if data > 0 else ()
            last = max((j, *sources), key=lambda k: (self.started[k], k == j))
            self.to(self.started[last], position, cause)
            return _START, last
        locked = self.chains.flags[j] & _LOCKED
        if cause == "memory access" or locked:
            hit = self.chains.latency[j] or int(self.core.memory.l1_latency.value)
            self._missed(j, self.started[j] + hit)
        self.to(self.started[j], position, "locked operation" if locked else "load latency")
        return _START, j

    def _missed(self, j: int, hit: int) -> None:
        """What a memory access took beyond `hit`, the page's share of it first."""
        position = self.chains.position[j]
        if self.time <= hit or j not in self.chains.accesses:
            return
        page, line = self.missed.data(self.pcs[position], *self.chains.accesses[j])
        self._waited(hit, position, page, line)

    def _waited(self, begin: int, position: int, page: Miss | None, line: Miss) -> None:
        """Links back to `begin`: the line, and before it the page that it lies on, if missing."""
        if page is not None:
            self.to(begin + page.wait, position, line.kind, line.found, line.address)
        last = line if page is None else page
        self.to(begin, position, last.kind, last.found, last.address)

    def _start(self, j: int) -> _Event:
        position, renamed, ready = self.chains.position[j], self.renamed[j], self.ready[j]
        taken = "unpipelined unit" if self.chains.occupancy[j] > 1 else self._port(j)
        self.to(max(ready, renamed + 1), position, taken)
        if ready <= renamed + 1:
            self.to(renamed, position, "issue")
            return _RENAME, j
        writer = self.chains.writer[j]
        # Flags of an instruction executed at rename come a cycle after its value.
        if writer >= 0 and 0 <= ready - self.done[writer] <= 1:
            self.to(self.done[writer], self.chains.position[writer], "execution latency")
            return _DONE, writer
        ordered = [self._ordered(j, k) for k in self.chains.order.get(j, ()) if k >= 0]
        time, event, k = max(ordered, default=(-1, (_STOP, position), -1))
        serial = self.chains.flags[j] & _DRAINS
        reason = "serialisation" if serial else "locked operation"
        if event[0] == _RETIRE:
            return self._committed(k, position, reason)
        self.to(time, position, reason)
        return event

    def _ordered(self, j: int, k: int) -> tuple[int, _Event, int]:
        """When uop `k`, which `j` must not pass, let it go, the event of that, and `k`."""
        ready, position = self.ready[j], self.chains.position[k]
        if self.chains.kind[k] == Kind.STORE_ADDRESS:
            return min(self.retired[position], ready), (_RETIRE, position), k
        if self.done[k] <= ready:
            return self.done[k], (_DONE, k), k
        # A locked load keeps others back until it has its line, not until it is done.
        return min(self.started[k], ready), (_START, k), k

    def _committed(self, k: int, position: int, reason: str) -> _Event:
        """The store of uop `k` is in the cache: `position` waits for that, for `reason`.

        A store goes to the cache when it has retired and its line is there, behind all older
        ones: back to the one that did not wait for others.
        """
        stores = self.chains.stores
        place = bisect_right(stores, k) - 1
        self.to(self.committed[self.chains.position[k]], position, reason)
        while place >= 0:
            store = self.chains.position[stores[place]]
            line = self._line_of_store(stores[place])
            if self.retired[store] + (line.wait if line else 0) >= self.time:
                if line:
                    self.to(self.retired[store], store, line.kind, line.found, line.address)
                return _RETIRE, store
            place -= 1
            before = self.chains.position[stores[place]] if place >= 0 else 0
            self.to(self.committed[before] if place >= 0 else 0, store, "store commit")
        return _STOP, 0

    def _line_of_store(self, k: int) -> Miss | None:
        """The line that a store asked for, if it was not there."""
        pc = self.pcs[self.chains.position[k]]
        if k not in self.chains.accesses or self.first_of[pc] != self.chains.position[k]:
            return None
        return self.missed.asked("data line", pc, *self.chains.accesses[k])

    def _port(self, j: int) -> str:
        return f"port {self.core.ports.names[self.port[j]]}"

    def _rename(self, j: int) -> _Event:
        position = self.chains.position[j]
        if j and self.renamed[j - 1] == self.time:
            return _RENAME, j - 1
        cause = self.stalled[j]
        if cause == _SERIAL and self.delivered[position] < self.time:
            uops = range(self.chains.first[position], j)
            last = next((k for k in reversed(uops) if self.chains.flags[k] & _BLOCKS), -1)
            if last >= 0:
                self.to(self.done[last], position, CAUSES[cause])
                return _DONE, last
        if cause == _MISPREDICTED and position and self.delivered[position] < self.time:
            last = self._redirecting(position - 1, cause)
            if last >= 0 and self.done[last] <= self.time:
                self.to(self.done[last], position - 1, CAUSES[cause])
                return _DONE, last
        if cause in _IN_FRONT:
            self.to(self.delivered[position], position, "rename width")
            return _DELIVER, position
        reason = CAUSES[cause]
        if reason == "rename width" and j:
            self.to(self.renamed[j - 1], position, reason)
            return _RENAME, j - 1
        if reason == "reorder buffer":
            event = self._slot_holder(self.slot[j] - 1 - int(self.core.rename.rob.value))
        elif reason == "scheduler":
            event = self._entry_holder(j)
        elif reason == "load buffer":
            event = self._holder(self.chains.loads, j, int(self.core.memory.load_buffer.value))
        else:
            size = int(self.core.memory.store_buffer.value) - 1
            place = bisect_right(self.chains.stores, j) - 1 - size
            if place >= 0:
                return self._committed(self.chains.stores[place], position, reason)
            event = (_STOP, 0)
        kind, index = event
        times = self.started if kind == _START else self.retired
        self.to(0 if kind == _STOP else min(times[index], self.time), position, reason)
        return event

    def _slot_holder(self, slot: int) -> _Event:
        """Retirement of the instruction that held rename slot `slot` (from 0)."""
        j = bisect_right(self.slot, slot)
        older = slot < (self.slot[0] if self.slot else 0) - 1
        return (_STOP, 0) if older else (_RETIRE, self.chains.position[j])

    def _entry_holder(self, j: int) -> _Event:
        """Start of the uop that left its entry of the scheduler to uop `j`."""
        held = self.left.get((self.chains.pool[j], self.time - 1), ())
        found = [k for k in held if k < j]
        if not found:
            return _STOP, self.chains.position[j]
        # Of uops that leave in the same cycle the one that waited for its port filled the queue.
        return _START, max(found, key=lambda k: (self.started[k] - self.ready[k], k))

    def _holder(self, queue: list[int], j: int, size: int) -> _Event:
        """Retirement of the instruction whose entry of a queue of `size` uop `j` takes."""
        place = bisect_right(queue, j) - 1 - size
        return (_RETIRE, self.chains.position[queue[place]]) if place >= 0 else (_STOP, 0)

    def _deliver(self, position: int) -> _Event:
        how = CAUSES[self.delivered_cause[position]]
        if how not in _GROUP_OF:
            how = "uop cache"
        if self.queued[position]:
            first = self.chains.first[position]
            slots = self.slot[first - 1] if first else 0
            j = bisect_right(self.slot, slots - int(self.core.front_end.queue_uops.value))
            if j < first and self.renamed[j] <= self.time:
                self.to(self.renamed[j], position, how)
                return _RENAME, j
        self.to(self.fetched[position], position, how)
        self._code_missed(position)
        return self._resume(position)

    def _code_missed(self, position: int) -> None:
        """Delivery waited for the code of `position`."""
        resumed = self.resumed[position]
        if self.time <= resumed:
            return
        page, line = self.missed.code(self.pcs[position])
        self._waited(resumed, position, page, line)

    def _redirecting(self, position: int, cause: int) -> int:
        """The uop of an instruction that redirects delivery and rename, -1 if none does."""
        flag = _BRANCHES if cause == _MISPREDICTED else _BLOCKS
        uops = range(self.chains.first[position], self.chains.first[position + 1])
        return next((j for j in reversed(uops) if self.chains.flags[j] & flag), -1)

    def _resume(self, position: int) -> _Event:
        """Why delivery did not go on to `position` at once after the instruction before it."""
        before = position - 1
        cause = self.resumed_cause[position]
        if not position:
            self.to(0, position, "taken branch" if cause not in _REDIRECTS else CAUSES[cause])
            return _STOP, 0
        if self.time > self.delivered[before]:
            last = self.chains.first[position] - 1
            if cause == _LOOP and last >= 0 and self.renamed[last] <= self.time:
                self.to(self.renamed[last], before, CAUSES[cause])
                return _RENAME, last
            if cause in _REDIRECTS:
                last = self._redirecting(before, cause)
                if last >= 0 and self.done[last] <= self.time:
                    self.to(self.done[last], before, CAUSES[cause])
                    return _DONE, last
            if cause == _MEMORY:
                target = self.missed.branch(self.pcs[before])
                self.to(self.delivered[before], before, target.kind, target.found, target.address)
            else:
                how = "branch prediction" if cause == _BUBBLE else "taken branch"
                self.to(self.delivered[before], before, how)
        return _DELIVER, before
