"""Static decode: machine code and a core description to the packed records of the pipeline."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tramposim._native import uarch
from tramposim.errors import UnsupportedError
from tramposim.spec import Arch
from tramposim.timing import arm64_uops, x86_64_uops
from tramposim.timing.core import Choice, Core
from tramposim.timing.corechecks import MOST_UNROLLED
from tramposim.timing.pack import INSN, UOP, Packed, Packer, packer_of
from tramposim.timing.uops import InsnSpec, Kind, UopSpec

__all__ = ["StaticCode", "decode_one", "mark_windows", "parameters", "static_code"]

_LENGTH_CHANGING, _FUSED_HEAD, _UNLOOPED, _ORDERS_LOADS, _REPEATED, _PAIR = 1, 2, 4, 8, 16, 32
_INSN = struct.Struct("<QIH6BI")
_DECODERS = {Arch.X86_64: x86_64_uops.decode, Arch.ARM64: arm64_uops.decode}
_SIZES = {Arch.X86_64: range(1, 16), Arch.ARM64: range(4, 5)}
_MOST_KNOWN = 1 << 17
_MOST_PAIRS = 1 << 12
_NO_UOPS = Packed(b"", 0, 0, True)


@dataclass(frozen=True, slots=True)
class StaticCode:
    """Decoded instructions in the order of the addresses asked for: specs and packed records."""

    specs: tuple[InsnSpec, ...]
    insns: NDArray[np.void]
    uops: NDArray[np.void]


_known: dict[Arch, dict[bytes, InsnSpec]] = {arch: {} for arch in Arch}
"""Instructions that were decoded, by their bytes: no instruction begins with another one."""


def decode_one(arch: Arch, code: bytes, address: int, core: str = "") -> InsnSpec:
    """The instruction at the start of `code` (at `address`).

    Raises `UnsupportedError` naming instruction, bytes, address and core.
    """
    known = _known[arch]
    for size in _SIZES[arch]:
        spec = known.get(code[:size])
        if spec is not None:
            return spec
    try:
        spec = _DECODERS[arch](bytes(code[: _SIZES[arch][-1]]), 0)
    except UnsupportedError as error:
        text = str(error).replace("at 0x0", f"at {address:#x}")
        raise UnsupportedError(f"{text}{f' (core {core})' if core else ''}") from error
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[bytes(code[: spec.size])] = spec
    return spec


def parameters(core: Core) -> dict[str, Any]:
    """The fields of `CoreParams` in `_native/uarch.pxd` from a core description."""
    values: dict[str, Any] = {
        name: parameter.number if isinstance(parameter, Choice) else int(parameter.value)
        for section, name, parameter in core.parameters()
        if section != "pools" and name not in _STATIC
    }
    sizes = [int(pool.entries.value) for pool in core.pools.values()]
    unrolled = sorted(core.loop_buffer.unrolled, key=lambda one: one.uops)
    missing = [0] * (MOST_UNROLLED - len(unrolled))
    values |= {
        "ports": len(core.ports.names),
        "pools": len(core.pools),
        "pool_size": sizes + [0] * (8 - len(sizes)),
        "loop_copies": [one.copies for one in unrolled] + missing,
        "loop_largest": [one.uops for one in unrolled] + missing,
    }
    return values


_CONDITIONAL = ("cmov", "set")
_COMPLEX = 2
"""Slots from which an instruction needs one of the decoders for complex ones."""

_STATIC = frozenset(
    [
        "decode_conditional",
        "eliminate_moves",
        "eliminate_extensions",
        "zero_idioms",
        "fold_immediates",
        "macro_fusion",
        "micro_fusion",
        "unlaminate_indexed",
        "rename_memory_density",
        "rename_memory_segment",
        "rename_memory_forms",
    ]
)


@lru_cache(maxsize=_MOST_PAIRS)
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
        segment=head.segment,
        mnemonic=branch.mnemonic,
    )


def static_code(
    core: Core, addresses: Sequence[int], code: Sequence[bytes], packer: Packer | None = None
) -> StaticCode:
    """Decode the instructions at `addresses` (their bytes, possibly longer, in `code`).

    Adjacent pairs that the core macro-fuses become one: the first keeps no uops. `packer` is
    the core's own unless one is given. Raises
    `UnsupportedError` for an instruction that the decoder or the core does not know.
    """
    specs = [decode_one(core.arch, c, a, core.name) for a, c in zip(addresses, code, strict=True)]
    resolved = list(specs)
    heads: set[int] = set()
    if core.rename.macro_fusion.value:
        heads = _fuse_pairs(addresses, specs, resolved)
    packer = packer or packer_of(core)
    insns: list[bytes] = []
    uops: list[bytes] = []
    first = 0
    for i, (address, spec) in enumerate(zip(addresses, resolved, strict=True)):
        packed = _NO_UOPS if i in heads else packer.pack(spec)
        flags = _LENGTH_CHANGING * spec.length_changing | _FUSED_HEAD * (i in heads)
        flags |= _UNLOOPED * (not packed.loops) | _ORDERS_LOADS * spec.orders_loads
        flags |= _REPEATED * spec.repeated | _PAIR * spec.pair
        record = (address, first, packed.uop_count, specs[i].size, int(spec.branch), flags)
        decode = min(packed.slots, 255)
        if core.front_end.decode_conditional.value and specs[i].mnemonic.startswith(_CONDITIONAL):
            decode = max(decode, _COMPLEX)
        slots = min(packed.slots + spec.wide_immediate, 255), decode
        insns.append(_INSN.pack(*record, *slots, 0, 0))
        uops.append(packed.uops)
        first += packed.uop_count
    return StaticCode(
        tuple(specs),
        np.frombuffer(bytearray().join(insns), dtype=INSN),
        np.frombuffer(bytearray().join(uops), dtype=UOP),
    )


def _fuse_pairs(
    addresses: Sequence[int], specs: Sequence[InsnSpec], resolved: list[InsnSpec]
) -> set[int]:
    """Let each pair that fuses be one instruction of `resolved`; the numbers of the heads."""
    numbers = {address: i for i, address in enumerate(addresses)}
    heads: set[int] = set()
    for i, (address, spec) in enumerate(zip(addresses, specs, strict=True)):
        following = numbers.get(address + spec.size) if spec.fuses else None
        if following is None or specs[following].mnemonic not in spec.fuses:
            continue
        if (address + spec.size) % 64 == 0:
            continue
        resolved[following] = _fuse(spec, specs[following])
        heads.add(i)
    return heads


def mark_windows(core: Core, insns: NDArray[np.void], uops: NDArray[np.void]) -> None:
    """Enter what depends on an instruction's neighbours in its window of code.

    `DENSE` where 32 bytes may hold more pairs of store and load than memory renaming tracks;
    `crowd`, the branches in the instruction's 32 bytes; `ordinal`, the place among them of one
    that begins there.
    """
    uarch.mark_windows(insns, uops, int(core.memory.rename_memory_density.value))
