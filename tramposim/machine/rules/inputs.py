"""Random inputs of programs: the contents of all memory, and what called functions return.

Memory is there wherever a program looks, so that one needs no types to run it: a word is a
pointer to more of such memory, a small number, a constant that the program compares with, or
noise, by its address and the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tramposim.machine.rules.probe import PAGE

__all__ = ["Inputs", "Pages"]

_HEAP = 0xFFFF888120000000
_HEAP_PAGES = 64
_MASK = (1 << 64) - 1
_SMALL = 64
_BOUNDS = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, _MASK, 1 << 63, (1 << 63) - 1, 1 << 32, 0xFFFF, 0xFF)
"""Values at which arithmetic of some width wraps."""
_MIXES = (
    (112, 150, 190, 230, 240),
    (40, 60, 140, 240, 248),
    (160, 170, 200, 220, 240),
    (60, 160, 180, 230, 245),
)
"""How often, of 256, a word is at most a pointer, zero, small, a constant, a small negative
number; which one is used goes by the seed."""
CALLS = 1 << 60
"""Key of the first called function's result among the input words' addresses."""


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64 well mixed bits for each value (the finalizer of splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = values * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ mixed >> np.uint64(31), np.uint64)


@dataclass(frozen=True)
class Inputs:
    """Input words by address (multiples of 8) and results of calls by number.

    `constants` are values that a program looks for. `chosen` are (address, word) that replace
    what the seed gives. With `kept` all words but those are zero.
    """

    seed: int
    constants: tuple[int, ...] = ()
    kept: frozenset[int] | None = None
    chosen: tuple[tuple[int, int], ...] = ()

    @cached_property
    def _start(self) -> np.uint64:
        return np.uint64(_mixed(np.array([self.seed], np.uint64))[0])

    @cached_property
    def _known(self) -> NDArray[np.uint64]:
        return np.array((*self.constants, *_BOUNDS), np.uint64)

    @cached_property
    def _kinds(self) -> NDArray[np.uint8]:
        """Which kind of word each value of the lowest byte stands for."""
        limits = _MIXES[self.seed % len(_MIXES)]
        return np.searchsorted(limits, np.arange(256), side="right").astype(np.uint8)

    def words(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The 64-bit words at addresses."""
        noise = _mixed(addresses ^ self._start)
        low = noise & np.uint64(0xFF)
        detail = noise >> np.uint64(8)
        small = detail % np.uint64(_SMALL)
        pointers = (
            np.uint64(_HEAP)
            + np.uint64(PAGE) * (detail % np.uint64(_HEAP_PAGES))
            + np.uint64(8) * (noise >> np.uint64(32) & np.uint64(0xFF))
        )
        near = self._known[(detail % np.uint64(len(self._known))).astype(np.intp)]
        step = (noise >> np.uint64(40) & np.uint64(3)) - np.uint64(1)
        near = near + step * (low % np.uint64(3) == 0)
        values = np.choose(
            self._kinds[low.astype(np.intp)],
            (pointers, np.uint64(0), small, near, np.uint64(0) - small, _mixed(noise)),
        ).astype(np.uint64)
        for address, word in self.chosen:
            values[addresses == np.uint64(address)] = word
        if self.kept is not None:
            kept = np.array(list(self.kept), np.uint64)
            values = np.where(np.isin(addresses, kept), values, np.uint64(0))
        return np.asarray(values, np.uint64)

    def word(self, address: int) -> int:
        """The 64-bit word at an address."""
        return int(self.words(np.array([address], np.uint64))[0])

    def result(self, call: int) -> int:
        """What the n-th called function returns."""
        return self.word(CALLS + call)

    @property
    def context(self) -> int:
        """The context's address: a multiple of 8, anywhere in a page."""
        return _HEAP + 8 * (self.seed * 37 % 300)


class Pages:
    """Memory by pages with these inputs as contents until it is written.

    `mask` are the address bits that tell places apart. `read` are the input words looked at.
    """

    def __init__(self, inputs: Inputs, mask: int) -> None:
        self.inputs = inputs
        self.mask = mask
        self.pages: dict[int, bytearray] = {}
        self.first: dict[int, bytes] = {}
        self.read_words: set[int] = set()

    def page(self, address: int) -> bytearray:
        """The page at an address (a multiple of the page size)."""
        address &= self.mask
        page = self.pages.get(address)
        if page is None:
            page = self.pages[address] = bytearray(self.initial(address))
        return page

    def initial(self, address: int) -> bytes:
        """What a page holds before anything is written."""
        address &= self.mask
        content = self.first.get(address)
        if content is None:
            addresses = np.uint64(address) + np.arange(0, PAGE, 8, dtype=np.uint64)
            content = self.first[address] = self.inputs.words(addresses).tobytes()
        return content

    def load(self, address: int, size: int) -> int:
        """An unsigned little-endian integer."""
        offset = address % PAGE
        start = address & self.mask
        self.read_words.update((start & -8, (start + size - 1) & -8 & self.mask))
        if offset + size <= PAGE:
            page = self.page(address - offset)
            return int.from_bytes(page[offset : offset + size], "little")
        return int.from_bytes(
            bytes(self.load(address + i & _MASK, 1) for i in range(size)), "little"
        )

    def store(self, address: int, size: int, value: int) -> None:
        """Store the low `size` bytes of a value."""
        data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        offset = address % PAGE
        if offset + size <= PAGE:
            self.page(address - offset)[offset : offset + size] = data
        else:
            for index, byte in enumerate(data):
                self.store(address + index & _MASK, 1, byte)
