"""Throughput of a code block: cycles per iteration, unrolled (decoded or cached) or as a loop.

The method is that of BHive (Chen et al., IISWC 2019): every register and every touched word
of memory starts as 0x12345600, pages are provided where the block touches them, all of them one
page of memory, and the cycles of two numbers of iterations are differenced, each from a core at
rest: 900 and 1800 instructions, but 300 and 600 iterations at most. (The larger number follows
from golden-cove-blocks.csv: the pages that it says were touched by 288 blocks that move on.)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tramposim._native.blocktrace import BlockTracer
from tramposim._native.pipeline import EVENTS, Pipeline
from tramposim._native.uarch import repeat_code
from tramposim.errors import InputError
from tramposim.machine.trace import ACCESS
from tramposim.spec import Arch
from tramposim.timing.blockpath import path_causes
from tramposim.timing.bottleneck import bottleneck_of, causes_of, holdups
from tramposim.timing.core import Core
from tramposim.timing.decode import (
    StaticCode,
    decode_one,
    mark_windows,
    parameters,
    static_code,
)
from tramposim.timing.pack import INSN, Packer
from tramposim.timing.uops import Branch, InsnSpec, Kind

__all__ = ["MODES", "RULES", "BlockTimer", "Mode", "Rule", "Throughput", "throughput"]

MODES = ("unroll", "cached", "loop")
Mode = Literal["unroll", "cached", "loop"]

RULES = ("stalls", "path")
Rule = Literal["stalls", "path"]
"""How cycles get their causes: by what kept rename and retirement (`timing.bottleneck`), or by the
critical path (`timing.critical`), which takes many times as long."""

_FILL = 0x12345600
_CODE = 0x7000_0000_0000
_MAX_BYTES = 4096
_INSNS = {"unroll": 900, "cached": 700, "loop": 700}
"""Instructions executed before those that are measured, and of those."""
_PASSES = 4
_SLOTS = EVENTS.index("slots")
_LOOPS = {Arch.X86_64: b"\x49\xff\xcf\x0f\x85\0\0\0\0", Arch.ARM64: b"\0\0\0\x14"}
"""What makes a loop of a block without a branch."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Cycles and rename slots per iteration of a block on a core.

    `causes` are the cycles by what held execution up, by the rule `rule`, largest first.
    """

    core: str
    mode: Mode
    cycles: float
    instructions: int
    slots: float
    causes: Mapping[str, float]
    rule: Rule = "stalls"

    @property
    def bottleneck(self) -> str:
        """Name of the cause that took most cycles."""
        return bottleneck_of(self.causes)


@cache
def _tracer(arch: Arch) -> BlockTracer:
    return BlockTracer(arch.value, _CODE, _FILL)


@dataclass(frozen=True, slots=True)
class _Block:
    """A block's instructions; `closing` is the size of its final branch (0: none)."""

    addresses: tuple[int, ...]
    pieces: tuple[bytes, ...]
    specs: tuple[InsnSpec, ...]
    closing: int

    @property
    def dependent(self) -> bool:
        """Whether an instruction depends on where it lies."""
        return any(spec.position_dependent for spec in self.specs)

    @property
    def plain(self) -> bool:
        """Whether it neither touches memory nor can fault."""
        return not any(
            uop.kind in (Kind.LOAD, Kind.STORE_ADDRESS) or uop.name.startswith("div")
            for spec in self.specs
            for uop in spec.uops
        )


class BlockTimer:
    """Times blocks on one core in one mode (see `throughput`), one after the other.

    Raises `InputError` for an unknown mode or rule.
    """

    def __init__(self, core: Core, mode: Mode = "unroll", rule: Rule = "stalls") -> None:
        if mode not in MODES:
            raise InputError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
        if rule not in RULES:
            raise InputError(f"unknown rule {rule!r}; known: {', '.join(RULES)}")
        self.core = core
        self.mode = mode
        self.rule = rule
        self._parameters = parameters(core)
        self._packer = Packer(core)

    def time(self, code: bytes) -> Throughput:
        """Cycles per iteration of a block; raises what `throughput` raises."""
        if not 0 < len(code) <= _MAX_BYTES:
            raise InputError(f"a block has 1 to {_MAX_BYTES} bytes, this one {len(code)}")
        core, loop = self.core, self.mode == "loop"
        block = _split(code, core)
        if block.closing and not loop:
            raise InputError("the block ends with a branch: it can only be timed as a loop")
        executed = len(block.specs) - bool(block.closing)
        body = code[: len(code) - block.closing]
        if loop and not block.closing:
            block = _split(code + _LOOPS[core.arch], core)
        static = static_code(core, block.addresses, block.pieces, self._packer)
        count = len(block.specs)
        warm = min(300, max(8, -(-_INSNS[self.mode] // count)))
        copies = 2 * warm
        accesses = np.zeros(0, dtype=ACCESS)
        if executed and not block.plain:
            accesses = _accesses(core.arch, body, executed, copies, block.dependent and not loop)
            if executed != count:
                iteration, place = np.divmod(accesses["insn"], executed)
                accesses = accesses.copy()
                accesses["insn"] = iteration * count + place
        return self._measure(static, len(code), accesses, warm, copies)

    def _measure(
        self, static: StaticCode, size: int, accesses: NDArray[np.void], warm: int, copies: int
    ) -> Throughput:
        count = len(static.insns)
        loop = self.mode == "loop"
        if loop:
            insns = static.insns
            order = np.tile(np.arange(count, dtype=np.int32), copies)
            marks = np.arange(copies + 1, dtype=np.int64) * count
        else:
            insns = np.empty(count * copies, dtype=INSN)
            repeat_code(static.insns, size, insns)
            order = np.arange(count * copies, dtype=np.int32)
            marks = np.array([0, warm * count, copies * count], dtype=np.int64)
        mark_windows(self.core, insns, static.uops)
        cached = self.mode != "unroll"
        pipeline = Pipeline(self._parameters, insns, static.uops, cached, one_page=True)
        cycles = np.zeros(len(marks), dtype=np.int64)
        for _ in range(_PASSES - 1):
            pipeline.run(order, accesses, marks, cycles)
            if not loop:
                pipeline.drain()
        pipeline.clear()
        before = holdups(pipeline)
        pipeline.run(order, accesses, marks, cycles)
        begin, end = int(cycles[warm if loop else 1]), int(cycles[-1])
        per_copy = (end - begin) / (copies - warm)
        found = Throughput(
            core=self.core.name,
            mode=self.mode,
            cycles=per_copy,
            instructions=count,
            slots=pipeline.events()[_SLOTS] / copies,
            causes=causes_of(self.core, before, holdups(pipeline), per_copy),
        )
        if self.rule == "stalls":
            return found
        code = replace(static, insns=insns)
        causes = path_causes(pipeline, self.core, code, order, accesses, warm * count, per_copy)
        return replace(found, causes=causes, rule=self.rule)


def throughput(code: bytes, core: Core, mode: Mode = "unroll", rule: Rule = "stalls") -> Throughput:
    """Cycles per iteration of the block `code` on `core`.

    `unroll` times copies one after the other, which the decoders must deliver; `cached` the same
    from the uop cache where the core has one; `loop` one copy with a loop branch (its own last
    instruction, or one that is added) from the loop buffer or the uop cache where the core has
    one. `rule` (see `RULES`) says what its cycles are put down to. Raises `InputError` for an
    empty or too large block, one with a branch inside or one that faults, `UnsupportedError` for
    unknown instructions.
    """
    return BlockTimer(core, mode, rule).time(code)


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
    return np.frombuffer(found, dtype=ACCESS)


def _jump(arch: Arch, distance: int) -> bytes:
    """A direct jump to `distance` bytes before or after its own begin."""
    if arch is Arch.X86_64:
        return b"\xe9" + struct.pack("<i", distance - 5)
    return struct.pack("<I", 0x14000000 | (distance // 4 & 0x3FFFFFF))


def _split(code: bytes, core: Core) -> _Block:
    """The instructions of a block; raises `InputError` for a branch inside it."""
    addresses, pieces, specs = [], [], []
    at = closing = 0
    while at < len(code):
        spec = decode_one(core.arch, code[at : at + 15], at, core.name)
        if at + spec.size > len(code):
            raise InputError("the block ends inside an instruction")
        addresses.append(_CODE + at)
        pieces.append(code[at : at + spec.size])
        specs.append(spec)
        at += spec.size
        if spec.branch is not Branch.NONE:
            if at < len(code):
                raise InputError(
                    f"'{spec.text}' inside the block: a block has one branch, its last"
                )
            closing = spec.size
    return _Block(tuple(addresses), tuple(pieces), tuple(specs), closing)
