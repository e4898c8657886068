"""Image: machine code at an address with named parts, call targets and its stack frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from tramposim._native.asmplan import Code
from tramposim.kernel.nodes import Node
from tramposim.spec import Arch

__all__ = ["FrameLayout", "FrameSlot", "Image", "LazySymbols", "Part", "PartTable"]

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


class PartTable(Sequence[Part]):
    """Parts made when they are looked at: most images are built without anyone looking.

    `names[i]` begins at `code.parts[i]`; the last part ends with the code. `subjects[i]` is
    the index in `nodes` of the program that the part is about, or -1.
    """

    __slots__ = ("_code", "_names", "_nodes", "_subjects")

    def __init__(
        self, names: Sequence[str], code: Code, subjects: Sequence[int], nodes: Sequence[Node]
    ) -> None:
        self._names = names
        self._code = code
        self._subjects = subjects
        self._nodes = nodes

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Part: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Part, ...]: ...
    def __getitem__(self, index: int | slice) -> Part | tuple[Part, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        starts = [*self._code.parts, len(self._code.code)]
        subject = self._subjects[index]
        return Part(
            self._names[index],
            starts[index],
            starts[index + 1],
            self._nodes[subject].name if subject >= 0 else "",
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


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
    code in order; `symbols` name call targets by address. Programs have no fill and may have
    no frame; `function_lengths` then holds the bytes of each of their functions.
    """

    arch: Arch
    address: int
    code: bytes
    size: int
    parts: Sequence[Part] = ()
    symbols: Mapping[int, str] = field(default_factory=dict)
    frame: FrameLayout | None = None
    function_lengths: tuple[int, ...] = ()

    @property
    def content(self) -> bytes:
        """The code followed by its fill: `size` bytes as a kernel's memory holds them."""
        fill = _FILL[self.arch]
        return self.code + fill * ((self.size - len(self.code)) // len(fill))
