"""A trace made ready for a core's pipeline: numbered instructions, packed records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim._native.uarch import index_addresses
from tramposim.errors import InputError
from tramposim.machine.trace import Trace
from tramposim.timing.core import Core
from tramposim.timing.decode import StaticCode, mark_windows, static_code

__all__ = ["PreparedTrace", "accesses_between", "prepare"]


@dataclass(frozen=True, slots=True)
class PreparedTrace:
    """The whole calls of a trace.

    `order[i]` is the number of the i-th executed instruction, `addresses` and `code` are by
    that number; `accesses` belong to positions of `order`; call k is `order[marks[k]:marks[k+1]]`.
    """

    order: NDArray[np.int32]
    accesses: NDArray[np.void]
    marks: NDArray[np.int64]
    addresses: list[int]
    code: StaticCode

    @property
    def call_count(self) -> int:
        """Number of calls."""
        return len(self.marks) - 1

    def call(self, number: int) -> tuple[NDArray[np.int32], NDArray[np.void]]:
        """Instructions and accesses of one call, as if it were alone."""
        begin, end = int(self.marks[number]), int(self.marks[number + 1])
        low, high = accesses_between(self.accesses, begin, end)
        accesses = self.accesses[low:high].copy()
        accesses["insn"] -= np.uint32(begin)
        return np.ascontiguousarray(self.order[begin:end]), accesses


def accesses_between(accesses: NDArray[np.void], begin: int, end: int) -> tuple[int, int]:
    """Where in `accesses` those of the instructions from `begin` to before `end` are."""
    # Needles of another type would have the whole field converted.
    low, high = np.searchsorted(accesses["insn"], np.array([begin, end], dtype=np.uint32))
    return int(low), int(high)


def prepare(trace: Trace, core: Core) -> PreparedTrace:
    """Number and decode the instructions of `trace`'s whole calls.

    Raises `InputError` for an empty trace or one of the other architecture,
    `UnsupportedError` for an instruction without timing.
    """
    if trace.arch is not core.arch:
        raise InputError(f"core {core.name} is {core.arch.value}, the trace is {trace.arch.value}")
    if trace.call_count < 1:
        raise InputError("the trace holds no whole call")
    first, last = int(trace.calls[0]), int(trace.calls[-1])
    pcs = np.ascontiguousarray(trace.pcs[first:last], dtype=np.uint64)
    order = np.empty(len(pcs), dtype=np.int32)
    addresses = index_addresses(pcs, order)
    code = _decode(trace, core, addresses)
    begin, end = accesses_between(trace.accesses, first, last)
    accesses = trace.accesses[begin:end]
    if first:
        accesses = accesses.copy()
        accesses["insn"] -= np.uint32(first)
    marks = np.ascontiguousarray(trace.calls - first, dtype=np.int64)
    mark_windows(core, code.insns, code.uops)
    return PreparedTrace(order, accesses, marks, addresses, code)


def _decode(trace: Trace, core: Core, addresses: list[int]) -> StaticCode:
    code = []
    region = None
    for address in addresses:
        if region is None or not 0 <= address - region.address < len(region.code):
            region = trace.region_of(address)
        start = address - region.address
        code.append(region.code[start : start + 15])
    return static_code(core, addresses, code)
