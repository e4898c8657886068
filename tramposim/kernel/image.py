"""Image: machine code at an address with named parts, call targets and its stack frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, overload

from tramposim.spec import Arch

__all__ = ["FrameLayout", "FrameSlot", "Image", "LazySymbols", "LazyTuple", "Part", "Skip"]

_Item = TypeVar("_Item")

_FILL = {Arch.X86_64: b"\0", Arch.ARM64: bytes.fromhex("002020d4")}
"""What a kernel leaves between the end of the code and im->size: BPF_INSN_SAFETY zero bytes
(x86_64), BRK instructions over the rest of the estimated size (arm64)."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` to `end` (offsets) of an image do what `name` says; `detail` says to whom."""

    name: str
    start: int
    end: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Skip:
    """A nop at offset `nop` that a kernel turns into a jump to offset `target`, over the call
    of program `p`, when that program is detached while tasks may be in the image."""

    p: int
    nop: int
    target: int


class LazyTuple(Sequence[_Item]):
    """Items made when they are looked at: most images are built without anyone looking."""

    __slots__ = ("_items", "_make")

    def __init__(self, make: Callable[[], tuple[_Item, ...]]) -> None:
        self._make = make
        self._items: tuple[_Item, ...] | None = None

    @property
    def items(self) -> tuple[_Item, ...]:
        """All items."""
        if self._items is None:
            self._items = self._make()
        return self._items

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> _Item: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_Item, ...]: ...
    def __getitem__(self, index: int | slice) -> _Item | tuple[_Item, ...]:
        return self.items[index]


class LazySymbols(Mapping[int, str]):
    """Names by address, made when they are looked at."""

    __slots__ = ("_make", "_names")

    def __init__(self, make: Callable[[], dict[int, str]]) -> None:
        self._make = make
        self._names: dict[int, str] | None = None

    @property
    def names(self) -> dict[int, str]:
        """All names by address."""
        if self._names is None:
            self._names = self._make()
        return self._names

    def __getitem__(self, address: int) -> str:
        return self.names[address]

    def __iter__(self) -> Iterator[int]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class FrameSlot:
    """`size` bytes at `offset` from the frame's base register."""

    name: str
    offset: int
    size: int = 8


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """An image's stack frame: `size` bytes below the saved frame pointer, and what the entry
    and the prologue put above them.

    `base` is the register that offsets count from (rbp: they are negative; sp: positive).
    Slots are ordered from high to low addresses.
    """

    base: str
    size: int
    slots: tuple[FrameSlot, ...] = ()

    def __getitem__(self, name: str) -> FrameSlot:
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise KeyError(name)

    def __contains__(self, name: str) -> bool:
        return any(slot.name == name for slot in self.slots)


@dataclass(frozen=True, slots=True)
class Image:
    """Machine code linked for `address`.

    `size` is what the kernel accounts for it (im->size: code and fill); `parts` cover the
    code in order; `symbols` name call targets by address; `skips` are the program calls that
    can be patched out. Programs have no fill and may have no frame; `function_lengths` then
    holds the bytes of each of their functions.
    """

    arch: Arch
    address: int
    code: bytes
    size: int
    parts: Sequence[Part] = ()
    symbols: Mapping[int, str] = field(default_factory=dict)
    frame: FrameLayout | None = None
    skips: Sequence[Skip] = ()
    function_lengths: tuple[int, ...] = ()

    @property
    def content(self) -> bytes:
        """The code followed by its fill: `size` bytes as a kernel's memory holds them."""
        fill = _FILL[self.arch]
        return self.code + fill * ((self.size - len(self.code)) // len(fill))
