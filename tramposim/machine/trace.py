"""What executed: the instruction and memory trace that the engine records and the core times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.errors import InputError
from tramposim.spec import Arch

__all__ = ["ACCESS", "STORE", "CodeRegion", "PageRange", "Trace"]

ACCESS = np.dtype([("address", "<u8"), ("insn", "<u4"), ("size", "<u2"), ("flags", "<u2")])
"""One memory access: virtual address, index of its instruction in `Trace.pcs`, bytes, flags."""

STORE = 1
"""Flag of an access that writes (without it: reads)."""


@dataclass(frozen=True, slots=True)
class CodeRegion:
    """Machine code as it stood while the trace was taken: `code` at virtual `address`."""

    address: int
    code: bytes
    name: str = ""


@dataclass(frozen=True, slots=True)
class PageRange:
    """Virtual addresses from `start` to before `end`, mapped with pages of 2**`shift` bytes."""

    start: int
    end: int
    shift: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Executed instructions in program order.

    `pcs[i]` is the virtual address of the i-th executed instruction; `accesses` (dtype
    `ACCESS`) are its loads and stores, sorted by instruction, in execution order within one.
    `calls` are the indices into `pcs` at which each call of the traced function begins (the
    first instruction of an iteration of the calling loop), followed by the end of the last.
    Branch outcomes follow from the next pc. `regions` hold the bytes of everything executed.
    `pages` tell what is mapped with pages other than 4 KB, in ascending order; `stack` is the
    stack pointer of the code that makes the calls, if known.
    """

    arch: Arch
    pcs: NDArray[np.uint64]
    accesses: NDArray[np.void]
    calls: NDArray[np.int64]
    regions: tuple[CodeRegion, ...]
    pages: tuple[PageRange, ...] = ()
    stack: int | None = None

    @property
    def call_count(self) -> int:
        """Number of whole calls in the trace."""
        return len(self.calls) - 1

    def region_of(self, address: int) -> CodeRegion:
        """The code region that holds `address`; raises `InputError` if none does."""
        for region in self.regions:
            if region.address <= address < region.address + len(region.code):
                return region
        raise InputError(f"no code was recorded at {address:#x}")
