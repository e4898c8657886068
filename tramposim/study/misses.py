"""What calls did not find in the first level: line by line, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tramposim.study.events import InstructionNames
from tramposim.study.path import PathLink
from tramposim.study.staged import StagedCalls

__all__ = ["MissCost", "miss_costs"]


@dataclass(frozen=True, slots=True)
class MissCost:
    """A line, page or branch that calls had to wait for.

    `kind` and `found` as in `Miss`, or `under way`: asked for by a prefetch. `name` says what it
    is: code by the function and offset at which it begins, data by the place of the instruction
    that wants it first. That is `instruction` at `place`, in `part`. `per_call` times on
    average, `wait_cycles` beyond a hit each time. Waits overlap, and what is hidden behind
    others costs nothing: `path_cycles` are what the critical path spent waiting for it, which
    sums up over all of them to the cold misses' share of the call.
    """

    kind: str
    found: str
    address: int
    name: str
    part: str
    instruction: str
    place: str
    per_call: float
    wait_cycles: float
    path_cycles: float


@dataclass(slots=True)
class _Sum:
    part: str
    instruction: str
    place: str
    count: int = 0
    wait: int = 0
    path: float = field(default=0.0)


def miss_costs(staged: StagedCalls, links: Iterable[PathLink]) -> tuple[MissCost, ...]:
    """The misses of all calls in the order in which they are first met.

    `links` are those of the calls' critical path.
    """
    names = InstructionNames(staged.trace)
    calls = staged.timing.calls
    sums: dict[tuple[str, int], _Sum] = {}
    found: dict[tuple[str, int], str] = {}
    for number, call in enumerate(calls):
        order, _ = staged.prepared.call(number)
        parts: dict[int, str] = {}
        for insn, (part, _, _) in zip(order.tolist(), staged.parts(number), strict=True):
            parts.setdefault(staged.prepared.addresses[insn], part)
        for miss in call.misses:
            key = (miss.kind, miss.address)
            total = sums.setdefault(key, _Sum(parts[miss.pc], names(miss.pc), names.place(miss.pc)))
            found.setdefault(key, miss.found)
            total.count += 1
            total.wait += miss.wait
    for link in links:
        if link.address is not None:
            key = (link.reason, link.address)
            text = f"{link.instruction} ({link.place})"
            sums.setdefault(key, _Sum(link.part, text, link.place)).path += link.cycles
            found.setdefault(key, link.found)
    return tuple(
        MissCost(
            kind,
            found[kind, address],
            address,
            total.place if kind.startswith("data") else _code_name(staged, address),
            total.part,
            total.instruction,
            total.place,
            total.count / len(calls),
            total.wait / total.count if total.count else 0.0,
            total.path,
        )
        for (kind, address), total in sums.items()
    )


def _code_name(staged: StagedCalls, address: int) -> str:
    """The function that a line of code begins in, or that begins in it."""
    line_end = address + 63
    region = next(
        (r for r in staged.places.regions if r.address <= line_end < r.address + len(r.code) + 63),
        None,
    )
    if region is None:
        return f"{address:#x}"
    offset = address - region.address
    return f"{region.name}{'-' if offset < 0 else '+'}{abs(offset):#x}"
