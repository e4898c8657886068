"""Instructions as packed records: uop classes resolved by a core's data."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from tramposim.errors import UnsupportedError
from tramposim.timing.core import Core
from tramposim.timing.uops import TEMPORARY, Branch, InsnSpec, Kind, UopFlag, UopSpec

__all__ = ["INSN", "UOP", "Packed", "Packer", "packer_of"]

UOP = np.dtype(
    [("ports", "<u4"), ("latency", "<u2"), ("occupancy", "<u2")]
    + [(name, "u1") for name in ("kind", "pool", "slots", "flags")]
    + [(f"{side}{i}", "u1") for side in ("src", "dst") for i in range(4)]
    + [("access", "u1"), ("folding", "u1"), ("pad", "<u2")]
)
"""Layout of `UopRec` in `_native/uarch.pxd`."""

INSN = np.dtype(
    [("pc", "<u8"), ("first", "<u4"), ("uops", "<u2")]
    + [(name, "u1") for name in ("size", "branch", "flags", "slots", "decode", "crowd", "ordinal")]
    + [("pad", "u1", 3)]
)
"""Layout of `InsnRec` in `_native/uarch.pxd`."""

_UOP = struct.Struct("<IHH14BH")
_NONE = 255
_FOLDS, _NEEDS_SUM = 1, 2
_MICROCODED = ("cmpxchg", "cmpxchg16b", "xadd", "bts", "btr", "btc", "shld", "shrd")
"""Operations on memory that no core modelled renames."""

_SHIFTS = ("shift", "shift_cl", "shift_x", "rotate", "rotate_cl", "rotate_x")


_LONGEST_DECODED = 4
"""Uops of the longest instruction that decoders emit; microcode has the others (Intel optimization
manual, legacy decode pipeline)."""


class Packed(NamedTuple):
    """The packed uops of one instruction (dtype `UOP`), and how many uops and slots they are.

    `loops`: a loop that contains it may stay in the loop buffer.
    """

    uops: bytes
    uop_count: int
    slots: int
    loops: bool


class Packer:
    """Packs instructions for one core, each kind of them once."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._packed: dict[int, tuple[InsnSpec, Packed]] = {}
        self._pool_masks = [core.port_mask(pool.ports) for pool in core.pools.values()]
        self._places: dict[tuple[str, bool], tuple[int, int, int, int]] = {}
        rename = core.rename
        self._eliminate = {
            "move": bool(rename.eliminate_moves.value),
            "extend": bool(rename.eliminate_extensions.value),
        }
        self._zero = bool(rename.zero_idioms.value)
        self._fold = bool(rename.fold_immediates.value)
        self._rename_segment = bool(core.memory.rename_memory_segment.value)
        self._rename_forms = bool(core.memory.rename_memory_forms.value)
        self._micro = bool(rename.micro_fusion.value)

    def _place(self, name: str, extra: bool, text: str) -> tuple[int, int, int, int]:
        """(ports, pool, latency, occupancy) of a class."""
        key = (name, extra)
        if key not in self._places:
            data = self._core.classes.get(name)
            if data is None:
                raise UnsupportedError(
                    f"core {self._core.name} has no timing for class {name!r} "
                    f"(instruction '{text}')"
                )
            mask = self._core.port_mask(data.extra if extra else data.ports)
            pool = next(i for i, ports in enumerate(self._pool_masks) if ports & mask)
            self._places[key] = (mask, pool, data.latency, 1 if extra else data.occupancy)
        return self._places[key]

    def _kind(self, uop: UopSpec) -> Kind:
        """The kind that this core makes of a uop's kind."""
        if uop.kind is Kind.ELIMINATED:
            eliminated = _is_no_uop(uop) or self._eliminates(uop.name)
            return uop.kind if eliminated else Kind.EXEC
        if uop.kind is Kind.ZERO:
            return Kind.ZERO if self._zero else Kind.EXEC
        if uop.kind is Kind.FOLD:
            return Kind.ELIMINATED if self._fold else Kind.EXEC
        return uop.kind

    def _eliminates(self, name: str) -> bool:
        """Whether moves of a class happen at rename on this core."""
        data = self._core.classes.get(name)
        return self._eliminate.get(name, data is not None and data.eliminated)

    def _renaming(self, flags: int, spec: InsnSpec) -> int:
        """Flags of a load or store, with whether memory renaming covers its form on this core."""
        if spec.segment and not self._rename_segment:
            return flags | int(UopFlag.UNRENAMED)
        known = spec.branch is not Branch.RETURN and spec.mnemonic not in _MICROCODED
        if self._rename_forms:
            unrenamed = int(UopFlag.UNRENAMED)
            return flags & ~unrenamed if known else flags | unrenamed
        return flags | int(UopFlag.UNRENAMED) * spec.indexed

    def pack(self, spec: InsnSpec) -> Packed:
        """The uops of `spec` on this core.

        Raises `UnsupportedError` for a class that the core has no timing for.
        """
        known = self._packed.get(id(spec))
        if known is None:
            rows: list[bytes] = []
            slots = sum(self._add(uop, spec, rows) for uop in spec.uops)
            loops = slots <= _LONGEST_DECODED and not (spec.high_byte or _moves_stack(spec))
            # The entry keeps `spec`, so that no other one gets its id.
            known = self._packed[id(spec)] = spec, Packed(b"".join(rows), len(rows), slots, loops)
        return known[1]

    def _add(self, uop: UopSpec, spec: InsnSpec, rows: list[bytes]) -> int:
        """Pack `uop` (and its filler uops); return the rename slots taken."""
        kind = self._kind(uop)
        flags = int(uop.flags)
        if kind is not Kind.ELIMINATED:
            flags &= ~int(UopFlag.EARLY_FLAGS)
        if kind in (Kind.LOAD, Kind.STORE_ADDRESS):
            flags = self._renaming(flags, spec)
        slot = int(uop.slot or (not self._micro and kind is not Kind.ELIMINATED))
        to_temporary = kind is Kind.ELIMINATED and uop.results[0] >= TEMPORARY
        if uop.kind is Kind.ELIMINATED and (to_temporary or _is_no_uop(uop)):
            slot = 0
        ports, pool, latency, occupancy, extra = 0, 0, 0, 1, 0
        if kind <= Kind.STORE_DATA:
            ports, pool, latency, occupancy = self._place(uop.name, False, spec.text)
            extra = self._core.classes[uop.name].uops - 1
        folding = _FOLDS * (uop.kind is Kind.FOLD) | _NEEDS_SUM * (uop.name in _SHIFTS)
        sources = (*uop.sources, *(_NONE,) * 4)[:4]
        results = (*uop.results, *(_NONE,) * 4)[:4]
        if len(uop.sources) > 4 or len(uop.results) > 4:
            raise UnsupportedError(f"'{spec.text}' has more operands than a uop can hold")
        place = (ports, latency, occupancy, int(kind), pool, slot, flags)
        rows.append(_UOP.pack(*place, *sources, *results, 0, folding, 0))
        for _ in range(extra):
            ports, pool, _latency, _ = self._place(uop.name, True, spec.text)
            filler = (*sources, *(_NONE,) * 4, 0, 0, 0)
            rows.append(_UOP.pack(ports, 1, 1, int(Kind.EXEC), pool, 1, 0, *filler))
        return slot + extra


def _is_no_uop(uop: UopSpec) -> bool:
    """Whether a move is none of its instruction's uops, but how its values get where they go."""
    return uop.name == "copy" or bool(uop.flags & UopFlag.MOVE_STACK)


def _moves_stack(spec: InsnSpec) -> bool:
    """Whether an instruction changes the stack pointer by the way."""
    return any(uop.flags & UopFlag.MOVE_STACK for uop in spec.uops)


_MOST_PACKERS = 64
_packers: dict[int, tuple[Core, Packer]] = {}


def packer_of(core: Core) -> Packer:
    """The packer of a core, which has packed what any trace timed on it before contained."""
    known = _packers.get(id(core))
    if known is None:
        if len(_packers) >= _MOST_PACKERS:
            _packers.clear()
        # The entry keeps `core`, so that no other one gets its id.
        known = _packers[id(core)] = core, Packer(core)
    return known[1]
