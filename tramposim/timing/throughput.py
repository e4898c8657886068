"""Throughput of a code block: cycles per iteration, unrolled or as a loop.

The method is that of BHive (Chen et al., IISWC 2019): every register and every touched word
of memory starts as 0x12345600, pages are provided where the block touches them, and the
cycles of two numbers of iterations are differenced.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tramposim._native.blocktrace import BlockTracer
from tramposim._native.pipeline import EVENTS, Pipeline
from tramposim.errors import InputError
from tramposim.machine.trace import ACCESS
from tramposim.spec import Arch
from tramposim.timing.bottleneck import bottleneck_of, causes_of, holdups
from tramposim.timing.core import Core
from tramposim.timing.decode import (
    INSN,
    StaticCode,
    decode_one,
    mark_windows,
    parameters,
    static_code,
)
from tramposim.timing.uops import Branch

__all__ = ["MODES", "Throughput", "throughput"]

MODES = ("unroll", "loop")
Mode = Literal["unroll", "loop"]

_FILL = 0x12345600
_CODE = 0x7000_0000_0000
_MAX_BYTES = 4096
_WARM_INSNS = 700
_MEASURED_INSNS = 700
_PASSES = 4


@dataclass(frozen=True, slots=True)
class Throughput:
    """Cycles and rename slots per iteration of a block on a core.

    `causes` are the cycles by what held execution up (see `timing.bottleneck`), largest first.
    """

    core: str
    mode: Mode
    cycles: float
    instructions: int
    slots: float
    causes: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        """Name of the cause that took most cycles."""
        return bottleneck_of(self.causes)


@cache
def _tracer(arch: Arch) -> BlockTracer:
    return BlockTracer(arch.value, _CODE, _FILL)


def _accesses(
    arch: Arch, code: bytes, instructions: int, copies: int, position_dependent: bool
) -> NDArray[np.void]:
    """Memory accesses of `copies` executions of `code`, one after the other.

    One copy is executed in a loop, which does what copies one after the other do unless an
    instruction depends on where it lies. Raises `InputError` for a block that faults, does not
    end or touches more than 64 pages.
    """
    budget = 64 * copies * instructions
    if position_dependent:
        found = _tracer(arch).trace(code * copies, 1, budget, False)
    else:
        back = _jump(arch, -len(code))
        found = _tracer(arch).trace(code + back, copies, budget, True)
    return np.frombuffer(found, dtype=ACCESS).copy()


def _jump(arch: Arch, distance: int) -> bytes:
    """A direct jump to `distance` bytes before or after its own begin."""
    if arch is Arch.X86_64:
        return b"\xe9" + struct.pack("<i", distance - 5)
    return struct.pack("<I", 0x14000000 | (distance // 4 & 0x3FFFFFF))


def throughput(code: bytes, core: Core, mode: Mode = "unroll") -> Throughput:
    """Cycles per iteration of the block `code` on `core`.

    `unroll` times copies one after the other, which the decoders must deliver; `loop` times
    one copy with a loop branch (its own last instruction, or one that is added) from the uop
    cache where the core has one. Raises `InputError` for an empty or too large block, one
    with a branch inside or one that faults, `UnsupportedError` for unknown instructions.
    """
    if mode not in MODES:
        raise InputError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
    if not 0 < len(code) <= _MAX_BYTES:
        raise InputError(f"a block has 1 to {_MAX_BYTES} bytes, this one {len(code)}")
    addresses, pieces, closing, dependent = _split(code, core)
    body = code[: len(code) - closing]
    if mode == "unroll" and closing:
        raise InputError("the block ends with a branch: it can only be timed as a loop")
    if mode == "loop" and not closing:
        branch = b"\x49\xff\xcf\x0f\x85\0\0\0\0" if core.arch is Arch.X86_64 else b"\0\0\0\x14"
        addresses, pieces, _, _ = _split(code + branch, core)
    static = static_code(core, addresses, pieces)
    count = len(addresses)
    warm = max(8, -(-_WARM_INSNS // count))
    copies = warm + max(8, -(-_MEASURED_INSNS // count))
    executed = count if mode == "unroll" else len(_split(body, core)[0]) if body else 0
    accesses = np.zeros(0, dtype=ACCESS)
    if body:
        dependent = dependent and mode == "unroll"
        accesses = _accesses(core.arch, body, executed, copies, dependent)
    if executed != count and executed:
        iteration, place = np.divmod(accesses["insn"], executed)
        accesses["insn"] = iteration * count + place
    return _time(core, mode, static, len(code), accesses, warm, copies)


def _time(
    core: Core,
    mode: Mode,
    static: StaticCode,
    size: int,
    accesses: NDArray[np.void],
    warm: int,
    copies: int,
) -> Throughput:
    count = len(static.insns)
    insns = static.insns
    order = np.tile(np.arange(count, dtype=np.int32), copies)
    if mode == "unroll":
        insns = np.tile(static.insns, copies).astype(INSN)
        insns["pc"] += np.repeat(np.arange(copies, dtype=np.uint64) * np.uint64(size), count)
        order = np.arange(count * copies, dtype=np.int32)
    mark_windows(core, insns, static.uops)
    pipeline = Pipeline(parameters(core), insns, static.uops, mode == "loop")
    marks = np.array([warm * count, copies * count], dtype=np.int64)
    cycles = np.zeros(2, dtype=np.int64)
    for _ in range(_PASSES):
        pipeline.clear()
        before = holdups(pipeline)
        pipeline.run(order, accesses, marks, cycles)
    events = dict(zip(EVENTS, pipeline.events(), strict=True))
    per_copy = float(cycles[1] - cycles[0]) / (copies - warm)
    return Throughput(
        core=core.name,
        mode=mode,
        cycles=per_copy,
        instructions=count,
        slots=events["slots"] / copies,
        causes=causes_of(core, before, holdups(pipeline), per_copy),
    )


def _split(code: bytes, core: Core) -> tuple[list[int], list[bytes], int, bool]:
    """Addresses and bytes of a block's instructions, the size of its final branch (0: none).

    The last value tells whether one of them depends on where it lies.
    """
    addresses, pieces = [], []
    at = closing = 0
    dependent = False
    while at < len(code):
        spec = decode_one(core.arch, code[at : at + 15], at, core.name)
        if at + spec.size > len(code):
            raise InputError("the block ends inside an instruction")
        addresses.append(_CODE + at)
        pieces.append(code[at : at + spec.size])
        at += spec.size
        dependent = dependent or spec.position_dependent
        if spec.branch is not Branch.NONE:
            if at < len(code):
                raise InputError(
                    f"'{spec.text}' inside the block: a block has one branch, its last"
                )
            closing = spec.size
    return addresses, pieces, closing, dependent
