"""Steps in the guest executed again and again from a calling loop, as a trace to be timed."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from support.guest import PAGE, Guest
from unicorn import arm64_const as arm
from unicorn import x86_const as x86

from tramposim._native import arm64_asm, x86_64_asm
from tramposim.machine.caller import X86_64_ARGUMENTS
from tramposim.machine.runtime import Region
from tramposim.machine.trace import ACCESS, CodeRegion, Trace
from tramposim.spec import Arch

Step = tuple[str, tuple[int, ...]]

SPAN = 0x4000
"""Room of the driver: behind the runtime, in reach of plain calls."""


def driver_address(guest: Guest) -> int:
    end = max(r.address + len(r.data) for r in guest.runtime.regions)
    return (end + 0x200000) & -PAGE


def driver_code(guest: Guest, steps: Sequence[Step]) -> bytes:
    """Calls every step with its arguments, counts down and begins again."""
    start = driver_address(guest)
    code = b""
    if guest.kernel.arch is Arch.X86_64:
        encode = x86_64_asm.ISA.encode_one
        for name, arguments in steps:
            for register, value in zip(X86_64_ARGUMENTS, arguments, strict=False):
                wide = "mov32_imm32" if 0 <= value < 1 << 32 else "movabs"
                code += encode(wide, register, value)
            code += encode("call", guest.runtime.address(name), address=start + len(code))
        code += bytes.fromhex("49ffcf")
        code += b"\x0f\x85" + struct.pack("<i", -(len(code) + 6))
    else:
        encode = arm64_asm.ISA.encode_one
        for name, arguments in steps:
            for register, value in enumerate(arguments):
                code += encode("movi", register, value)
            code += encode("call", guest.runtime.address(name), 16, address=start + len(code))
        code += encode("subsi", 28, 28, 1)
        code += encode("bcond", 1, start, address=start + len(code))
    assert len(code) < SPAN
    return code


def trace_steps(guest: Guest, steps: Sequence[Step], calls: int = 6, warmup: int = 3) -> Trace:
    """Boots the guest and traces `calls` rounds of the steps."""
    arch = guest.kernel.arch
    start = driver_address(guest)
    code = driver_code(guest, steps)
    guest.boot([Region(start, code.ljust(PAGE, b"\0"), "driver", True)])
    emulator = guest.emulator
    starts: list[int] = []
    for step in range(warmup + calls):
        if step == warmup:
            guest.executed, guest.accesses, guest.owners = [], [], []
            starts = []
        starts.append(len(guest.executed))
        if arch is Arch.X86_64:
            emulator.reg_write(x86.UC_X86_REG_RSP, guest.cpu.stack_top)
            emulator.reg_write(x86.UC_X86_REG_R15, 1 << 20)
            end = start + len(code) - 6
        else:
            emulator.reg_write(arm.UC_ARM64_REG_SP, guest.cpu.stack_top)
            emulator.reg_write(arm.UC_ARM64_REG_X28, 1 << 20)
            end = start + len(code) - 4
        emulator.emu_start(start, end, count=200_000)
        guest.executed.append(end)
    starts.append(len(guest.executed))
    accesses = np.array(
        [
            (address, owner, size, int(kind == "w"))
            for (kind, address, size), owner in zip(guest.accesses, guest.owners, strict=True)
        ],
        dtype=ACCESS,
    )
    regions = [CodeRegion(r.address, bytes(r.data), r.name) for r in guest.runtime.regions]
    return Trace(
        arch,
        np.array(guest.executed, dtype=np.uint64),
        accesses,
        np.array(starts, dtype=np.int64),
        (*regions, CodeRegion(start, code, "driver")),
    )
