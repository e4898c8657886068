"""Throughput of a code block: cycles per iteration, unrolled or as a loop.

The method is that of BHive (Chen et al., IISWC 2019): every register and every touched word
of memory starts as 0x12345600, pages are provided where the block touches them, and the
cycles of two numbers of iterations are differenced.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tramposim._native.pipeline import EVENTS, Pipeline
from tramposim.errors import InputError
from tramposim.machine.trace import ACCESS
from tramposim.spec import Arch
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
_PAGE = 4096
_CODE = 0x7000_0000_0000
_MAX_BYTES = 4096
_MAX_PAGES = 64
_WARM_INSNS = 700
_MEASURED_INSNS = 700
_PASSES = 4


@dataclass(frozen=True, slots=True)
class Throughput:
    """Cycles and rename slots per iteration of a block on a core."""

    core: str
    mode: Mode
    cycles: float
    instructions: int
    slots: float


def _accesses(arch: Arch, code: bytes, copies: int) -> NDArray[np.void]:
    """Memory accesses of `copies` executions of `code`, one after the other.

    Raises `InputError` for a block that faults or touches more than `_MAX_PAGES` pages.
    """
    unicorn: Any = import_module("unicorn")
    x86 = arch is Arch.X86_64
    if x86:
        engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    else:
        engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        engine.ctl_set_cpu_model(unicorn.arm64_const.UC_CPU_ARM64_MAX)
    end = _CODE + len(code) * copies
    memory = (ctypes.c_uint64 * (_PAGE // 8))(*[_FILL] * (_PAGE // 8))
    pages: set[int] = set()
    found: list[tuple[int, int, int, int]] = []
    executed = 0

    def provide(uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> bool:
        for page in {address // _PAGE, (address + size - 1) // _PAGE} - pages:
            if not 0 < page < 1 << 39 or len(pages) >= _MAX_PAGES:
                return False
            pages.add(page)
            uc.mem_map_ptr(page * _PAGE, _PAGE, 3, ctypes.addressof(memory))
        return True

    def count(uc: Any, address: int, size: int, data: Any) -> None:
        nonlocal executed
        executed += 1

    def note(uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> None:
        found.append((address, executed - 1, size, int(kind == unicorn.UC_MEM_WRITE)))

    engine.mem_map(_CODE, -(-len(code) * copies // _PAGE) * _PAGE)
    engine.mem_write(_CODE, code * copies)
    engine.hook_add(unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED, provide)
    engine.hook_add(unicorn.UC_HOOK_CODE, count)
    engine.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, note)
    for register in _general_registers(arch):
        engine.reg_write(register, _FILL)
    try:
        engine.emu_start(_CODE, end, count=64 * copies * len(code))
    except unicorn.UcError as error:
        raise InputError(f"the block cannot be executed: {error}") from error
    return np.array(found, dtype=ACCESS) if found else np.zeros(0, dtype=ACCESS)


@cache
def _general_registers(arch: Arch) -> tuple[int, ...]:
    if arch is Arch.X86_64:
        x86_const = import_module("unicorn.x86_const")
        names = ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"]
        names += [f"R{n}" for n in range(8, 16)]
        return tuple(getattr(x86_const, f"UC_X86_REG_{name}") for name in names)
    arm64_const = import_module("unicorn.arm64_const")
    names = [f"X{n}" for n in range(31)] + ["SP"]
    return tuple(getattr(arm64_const, f"UC_ARM64_REG_{name}") for name in names)


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
    addresses, pieces, closing = _split(code, core)
    body = code[: len(code) - closing]
    if mode == "unroll" and closing:
        raise InputError("the block ends with a branch: it can only be timed as a loop")
    if mode == "loop" and not closing:
        branch = b"\x49\xff\xcf\x0f\x85\0\0\0\0" if core.arch is Arch.X86_64 else b"\0\0\0\x14"
        addresses, pieces, _ = _split(code + branch, core)
    static = static_code(core, addresses, pieces)
    count = len(addresses)
    warm = max(8, -(-_WARM_INSNS // count))
    copies = warm + max(8, -(-_MEASURED_INSNS // count))
    executed = count if mode == "unroll" else len(_split(body, core)[0]) if body else 0
    accesses = _accesses(core.arch, body, copies) if body else np.zeros(0, dtype=ACCESS)
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
        pipeline.run(order, accesses, marks, cycles)
    events = dict(zip(EVENTS, pipeline.events(), strict=True))
    return Throughput(
        core=core.name,
        mode=mode,
        cycles=float(cycles[1] - cycles[0]) / (copies - warm),
        instructions=count,
        slots=events["slots"] / copies,
    )


def _split(code: bytes, core: Core) -> tuple[list[int], list[bytes], int]:
    """Addresses and bytes of a block's instructions, and the size of its final branch (0: none)."""
    addresses, pieces = [], []
    at = closing = 0
    while at < len(code):
        spec = decode_one(core.arch, code[at : at + 15], at, core.name)
        if at + spec.size > len(code):
            raise InputError("the block ends inside an instruction")
        addresses.append(_CODE + at)
        pieces.append(code[at : at + spec.size])
        at += spec.size
        if spec.branch is not Branch.NONE:
            if at < len(code):
                raise InputError(
                    f"'{spec.text}' inside the block: a block has one branch, its last"
                )
            closing = spec.size
    return addresses, pieces, closing
