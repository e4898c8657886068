"""Registers and stack of a program as the verifier sees them at one instruction, and their flow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tramposim.bpf.scalars import Scalar, constant, load, truncated, unknown

__all__ = ["Frame", "Location", "Note", "Pointer", "Slot", "State", "Value"]

Location = tuple[int, int]
"""A register (0 to 10) or an 8-byte stack slot (-1 and below) of a frame: (frame, number)."""

MISC, ZERO, NEVER = "m", "0", "."
SPILLED = "s"
_NEVER = NEVER * 8


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer: `kind` context, stack, map, value (of a map) or other.

    `what` is the map's name or the stack's frame; `offset` None: not constant. `null`: it may
    be null; all with the same number are or are not.
    """

    kind: str
    what: str | int = ""
    offset: int | None = 0
    null: int = 0


Value = Scalar | Pointer | None
"""What a register holds; None: nothing that may be read."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Eight bytes of stack, the lowest first: what each is, and the value that was stored."""

    kinds: str = _NEVER
    value: Scalar | Pointer | None = None


@dataclass(slots=True)
class Frame:
    """One function's registers and stack, and where it goes on after a call."""

    registers: list[Value]
    slots: dict[int, Slot] = field(default_factory=dict)
    resume: int = -1

    def copy(self) -> Frame:
        """An independent copy."""
        return Frame(list(self.registers), dict(self.slots), self.resume)


@dataclass(slots=True)
class State:
    """The program between two instructions: the frames, innermost last."""

    frames: list[Frame]
    loops: int = 0
    """Passes of may_goto so far."""

    def copy(self) -> State:
        """An independent copy."""
        return State([frame.copy() for frame in self.frames], self.loops)

    @property
    def frame(self) -> Frame:
        """The innermost frame."""
        return self.frames[-1]

    def linked(self, link: int) -> Iterator[tuple[Location, Scalar]]:
        """All places that hold a number of this link."""
        for depth, frame in enumerate(self.frames):
            for number, value in enumerate(frame.registers):
                if isinstance(value, Scalar) and value.link == link:
                    yield (depth, number), value
            for number, slot in frame.slots.items():
                if isinstance(slot.value, Scalar) and slot.value.link == link:
                    yield (depth, number), slot.value

    def put(self, place: Location, value: Value) -> None:
        """Replace the value of a register or of a spilled slot."""
        frame = self.frames[place[0]]
        if place[1] >= 0:
            frame.registers[place[1]] = value
        else:
            frame.slots[place[1]] = Slot(frame.slots[place[1]].kinds, value)

    def write(self, depth: int, offset: int, size: int, value: Value) -> None:
        """Store a value on a frame's stack (check_stack_write_fixed_off)."""
        slots = self.frames[depth].slots
        first, last = offset >> 3, (offset + size - 1) >> 3
        whole = offset % 8 == 0
        if whole and size == 8 and isinstance(value, Pointer):
            slots[first] = Slot(SPILLED * 8, value)
            return
        if whole and isinstance(value, Scalar) and size <= 8:
            kept = value.copy()
            if value.umax >> 8 * size:
                kept.link = 0
            old = slots.get(first, Slot()).kinds
            rest = "".join(NEVER if kind == NEVER else MISC for kind in old[size:])
            slots[first] = Slot(SPILLED * size + rest, kept)
            return
        zero = isinstance(value, Scalar) and value.value == 0
        for number in range(first, last + 1):
            slot = slots.get(number, Slot())
            kinds = [MISC if kind == SPILLED else kind for kind in slot.kinds]
            for byte in range(max(offset, 8 * number), min(offset + size, 8 * number + 8)):
                kinds[byte - 8 * number] = ZERO if zero else MISC
            slots[number] = Slot("".join(kinds))

    def read(self, depth: int, offset: int, size: int) -> tuple[Value, bool]:
        """What a load from a frame's stack gives, and whether that is a stored value."""
        slots = self.frames[depth].slots
        slot = slots.get(offset >> 3, Slot())
        begin = offset % 8
        kinds = slot.kinds[begin : begin + size]
        stored = slot.kinds[0] == SPILLED and slot.value is not None
        if stored and begin == 0:
            length = slot.kinds.count(SPILLED)
            if size == 8 and length == 8:
                return slot.value, True
            if size <= length and isinstance(slot.value, Scalar):
                copy = slot.value.copy()
                if copy.umax >> 8 * size:
                    copy.link = 0
                return truncated(copy, size), True
        if begin + size <= 8:
            null = isinstance(slot.value, Scalar) and slot.value.value == 0
            if kinds and all(kind == ZERO or (kind == SPILLED and null) for kind in kinds):
                return constant(0), True
        return load(size) if size < 8 else unknown(), False

    def clobber(self, depth: int, offset: int | None) -> None:
        """Something unknown may have been stored at `offset` and above (None: anywhere)."""
        slots = self.frames[depth].slots
        for number in slots if offset is None else [n for n in slots if n >= offset >> 3]:
            slots[number] = Slot(MISC * 8)


@dataclass(frozen=True, slots=True)
class Note:
    """How values flowed through one step: `written` come from `read`.

    `kept`: what was written keeps a part of its old value.
    """

    written: tuple[Location, ...]
    read: tuple[Location, ...] = ()
    kept: bool = False

    def before(self, places: set[Location]) -> set[Location]:
        """Places that held, before the step, what these hold after it."""
        if not any(place in places for place in self.written):
            return places
        kept = places if self.kept else places.difference(self.written)
        return kept.union(self.read)
