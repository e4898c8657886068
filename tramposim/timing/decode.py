"""Static decode: machine code and a core description to the packed records of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tramposim.errors import UnsupportedError
from tramposim.spec import Arch
from tramposim.timing import arm64_uops, x86_64_uops
from tramposim.timing.core import Choice, Core
from tramposim.timing.uops import Branch, InsnSpec, Kind, UopFlag, UopSpec

__all__ = ["INSN", "UOP", "StaticCode", "decode_one", "mark_windows", "parameters", "static_code"]

UOP = np.dtype(
    [("ports", "<u4"), ("latency", "<u2"), ("occupancy", "<u2")]
    + [(name, "u1") for name in ("kind", "pool", "slots", "flags")]
    + [(f"{side}{i}", "u1") for side in ("src", "dst") for i in range(4)]
    + [("access", "u1"), ("folding", "u1"), ("pad", "<u2")]
)
"""Layout of `UopRec` in `_native/uarch.pxd`."""

INSN = np.dtype(
    [("pc", "<u8"), ("first", "<u4"), ("uops", "<u2")]
    + [(name, "u1") for name in ("size", "branch", "flags", "slots", "decode", "crowd")]
    + [("pad2", "<u4")]
)
"""Layout of `InsnRec` in `_native/uarch.pxd`."""

_LENGTH_CHANGING, _FUSED_HEAD, _MICROCODED, _ORDERS_LOADS, _REPEATED, _PAIR = 1, 2, 4, 8, 16, 32
_DENSE = 64
_DENSITY_WINDOW = 32
_NONE = 255
_FOLDS, _NEEDS_SUM = 1, 2
_SHIFTS = ("shift", "shift_cl", "shift_x", "rotate", "rotate_cl", "rotate_x")
_DECODERS = {Arch.X86_64: x86_64_uops.decode, Arch.ARM64: arm64_uops.decode}


@dataclass(frozen=True, slots=True)
class StaticCode:
    """Decoded instructions in the order of the addresses asked for: specs and packed records."""

    specs: tuple[InsnSpec, ...]
    insns: NDArray[np.void]
    uops: NDArray[np.void]


@lru_cache(maxsize=65536)
def _decode_bytes(arch: Arch, code: bytes) -> InsnSpec:
    return _DECODERS[arch](code, 0)


def decode_one(arch: Arch, code: bytes, address: int, core: str = "") -> InsnSpec:
    """The instruction at the start of `code` (at `address`).

    Raises `UnsupportedError` naming instruction, bytes, address and core.
    """
    limit = 15 if arch is Arch.X86_64 else 4
    try:
        return _decode_bytes(arch, bytes(code[:limit]))
    except UnsupportedError as error:
        text = str(error).replace("at 0x0", f"at {address:#x}")
        raise UnsupportedError(f"{text}{f' (core {core})' if core else ''}") from error


def parameters(core: Core) -> dict[str, Any]:
    """The fields of `CoreParams` in `_native/uarch.pxd` from a core description."""
    values: dict[str, Any] = {
        name: parameter.number if isinstance(parameter, Choice) else int(parameter.value)
        for section, name, parameter in core.parameters()
        if section != "pools" and name not in _STATIC
    }
    sizes = [int(pool.entries.value) for pool in core.pools.values()]
    values |= {
        "ports": len(core.ports.names),
        "pools": len(core.pools),
        "pool_size": sizes + [0] * (8 - len(sizes)),
    }
    return values


_STATIC = frozenset(
    [
        "eliminate_moves",
        "eliminate_extensions",
        "zero_idioms",
        "fold_immediates",
        "macro_fusion",
        "micro_fusion",
        "unlaminate_indexed",
        "rename_memory_density",
    ]
)


class _Packer:
    """Resolves uop classes by a core's data and collects packed rows."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.rows: list[tuple[int, ...]] = []
        self.pool_masks = [core.port_mask(pool.ports) for pool in core.pools.values()]
        self.memo: dict[tuple[str, bool], tuple[int, int, int, int]] = {}
        rename = core.rename
        self.eliminate = {
            "move": bool(rename.eliminate_moves.value),
            "extend": bool(rename.eliminate_extensions.value),
        }
        self.zero = bool(rename.zero_idioms.value)
        self.fold = bool(rename.fold_immediates.value)
        self.micro = bool(rename.micro_fusion.value)
        self.unlaminate = bool(rename.unlaminate_indexed.value)

    def place(self, name: str, extra: bool, text: str) -> tuple[int, int, int, int]:
        """(ports, pool, latency, occupancy) of a class."""
        key = (name, extra)
        if key not in self.memo:
            data = self.core.classes.get(name)
            if data is None:
                raise UnsupportedError(
                    f"core {self.core.name} has no timing for class {name!r} (instruction '{text}')"
                )
            mask = self.core.port_mask(data.extra if extra else data.ports)
            pool = next(i for i, ports in enumerate(self.pool_masks) if ports & mask)
            self.memo[key] = (mask, pool, data.latency, 1 if extra else data.occupancy)
        return self.memo[key]

    def kind(self, uop: UopSpec) -> Kind:
        """The kind that this core makes of a uop's kind."""
        if uop.kind is Kind.ELIMINATED:
            moves_stack = bool(uop.flags & UopFlag.MOVE_STACK)
            return (
                uop.kind
                if moves_stack or uop.name == "copy" or self.eliminate.get(uop.name, False)
                else Kind.EXEC
            )
        if uop.kind is Kind.ZERO:
            return Kind.ZERO if self.zero else Kind.EXEC
        if uop.kind is Kind.FOLD:
            return Kind.ELIMINATED if self.fold else Kind.EXEC
        return uop.kind

    def add(self, uop: UopSpec, spec: InsnSpec) -> int:
        """Pack `uop` (and its filler uops); return the rename slots taken."""
        kind = self.kind(uop)
        flags = int(uop.flags)
        if kind is not Kind.ELIMINATED:
            flags &= ~int(UopFlag.EARLY_FLAGS)
        if spec.indexed and kind is Kind.LOAD:
            flags |= int(UopFlag.UNRENAMED)
        slot = int(uop.slot or (not self.micro and kind is not Kind.ELIMINATED))
        if uop.kind is Kind.ELIMINATED and (uop.name == "copy" or uop.flags & UopFlag.MOVE_STACK):
            slot = 0
        ports, pool, latency, occupancy, extra = 0, 0, 0, 1, 0
        if kind <= Kind.STORE_DATA:
            ports, pool, latency, occupancy = self.place(uop.name, False, spec.text)
            extra = self.core.classes[uop.name].uops - 1
        folding = _FOLDS * (uop.kind is Kind.FOLD) | _NEEDS_SUM * (uop.name in _SHIFTS)
        sources = (*uop.sources, *(_NONE,) * 4)[:4]
        results = (*uop.results, *(_NONE,) * 4)[:4]
        if len(uop.sources) > 4 or len(uop.results) > 4:
            raise UnsupportedError(f"'{spec.text}' has more operands than a uop can hold")
        row = (
            ports,
            latency,
            occupancy,
            int(kind),
            pool,
            slot,
            flags,
            *sources,
            *results,
            0,
            folding,
            0,
        )
        self.rows.append(row)
        for _ in range(extra):
            ports, pool, _latency, _ = self.place(uop.name, True, spec.text)
            filler = (*sources, *(_NONE,) * 4, 0, 0, 0)
            self.rows.append((ports, 1, 1, int(Kind.EXEC), pool, 1, 0, *filler))
        return slot + extra


def _fuse(head: InsnSpec, branch: InsnSpec) -> InsnSpec:
    """The macro-fused pair, as uops of the branch."""
    *before, compare = head.uops
    jump = branch.uops[0]
    flags = jump.flags | compare.flags
    fused = UopSpec(Kind.EXEC, jump.name, compare.sources, compare.results, compare.slot, flags)
    return InsnSpec(
        text=f"{head.text}; {branch.text}",
        size=branch.size,
        uops=(*before, fused),
        branch=branch.branch,
        indexed=head.indexed,
        mnemonic=branch.mnemonic,
    )


def static_code(core: Core, addresses: Sequence[int], code: Sequence[bytes]) -> StaticCode:
    """Decode the instructions at `addresses` (their bytes, possibly longer, in `code`).

    Adjacent pairs that the core macro-fuses become one: the first keeps no uops. Raises
    `UnsupportedError` for an instruction that the decoder or the core does not know.
    """
    specs = [decode_one(core.arch, c, a, core.name) for a, c in zip(addresses, code, strict=True)]
    numbers = {address: i for i, address in enumerate(addresses)}
    resolved = list(specs)
    heads: set[int] = set()
    if core.rename.macro_fusion.value:
        for i, (address, spec) in enumerate(zip(addresses, specs, strict=True)):
            following = numbers.get(address + spec.size) if spec.fuses else None
            if following is None or specs[following].mnemonic not in spec.fuses:
                continue
            if (address + spec.size) % 64 == 0:
                continue
            resolved[following] = _fuse(spec, specs[following])
            heads.add(i)
    packer = _Packer(core)
    insns = np.zeros(len(specs), dtype=INSN)
    for i, (address, spec) in enumerate(zip(addresses, resolved, strict=True)):
        first = len(packer.rows)
        slots = 0
        if i not in heads:
            slots = sum(packer.add(uop, spec) for uop in spec.uops)
        flags = _LENGTH_CHANGING * spec.length_changing | _FUSED_HEAD * (i in heads)
        flags |= _MICROCODED * spec.microcoded | _ORDERS_LOADS * spec.orders_loads
        flags |= _REPEATED * spec.repeated | _PAIR * spec.pair
        insns[i] = (
            address,
            first,
            len(packer.rows) - first,
            specs[i].size,
            int(spec.branch),
            flags,
            min(slots + spec.wide_immediate, 255),
            min(slots, 255),
            0,
            0,
        )
    uops = np.array(packer.rows, dtype=UOP) if packer.rows else np.zeros(0, dtype=UOP)
    return StaticCode(tuple(specs), insns, uops)


def mark_windows(core: Core, insns: NDArray[np.void], uops: NDArray[np.void]) -> None:
    """Enter what depends on an instruction's neighbours in its window of code.

    `DENSE` where 32 bytes may hold more pairs of store and load than memory renaming tracks;
    `crowd`, the branches in the instruction's 64 bytes.
    """
    limit = int(core.memory.rename_memory_density.value)
    places = _places(insns["pc"], _DENSITY_WINDOW)
    pairs = np.minimum(
        _per_window(insns, uops, Kind.LOAD, places),
        _per_window(insns, uops, Kind.STORE_DATA, places),
    )
    insns["flags"] |= (_DENSE * (pairs[places] > limit)).astype(np.uint8)
    branches = np.where(insns["branch"] != int(Branch.NONE), 1, 0)
    places = _places(insns["pc"], 64)
    insns["crowd"] = np.bincount(places, weights=branches)[places].astype(np.uint8)


def _places(pcs: NDArray[np.uint64], size: int) -> NDArray[np.intp]:
    """Number of the window of `size` bytes that each address lies in."""
    windows = pcs // np.uint64(size)
    new = windows[1:] != windows[:-1]
    if (windows[1:] >= windows[:-1]).all():
        return np.concatenate([[0], np.cumsum(new)]).astype(np.intp)
    places: NDArray[np.intp] = np.unique(windows, return_inverse=True)[1]
    return places


def _per_window(
    insns: NDArray[np.void], uops: NDArray[np.void], kind: Kind, places: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Uops of `kind` in each window of code, `places` being each instruction's window."""
    before = np.concatenate([[0], np.cumsum(uops["kind"] == int(kind))])
    first = insns["first"].astype(np.int64)
    counts = before[first + insns["uops"]] - before[first]
    return np.bincount(places, weights=counts).astype(np.float64)
