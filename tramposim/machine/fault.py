"""What a run that ended badly says: place, instruction, access, the way there."""

from __future__ import annotations

from collections.abc import Callable

from tramposim._native.engine import Stop
from tramposim.errors import FaultReport, GuestFault
from tramposim.machine.disassembly import disassemble
from tramposim.spec import Arch

__all__ = ["SHOWN_BRANCHES", "fault_of"]

SHOWN_BRANCHES = 16
"""Most branches of a report."""

_LONGEST = 15
"""Bytes of the longest x86_64 instruction."""

_WORDS = {
    "budget": "did not finish within its instruction budget (an endless loop?)",
    "trace-full": "filled the trace buffer",
    "out-of-memory": "ran out of memory for the trace",
    "unmapped-read": "reads unmapped memory",
    "unmapped-write": "writes unmapped memory",
    "unmapped-fetch": "jumps to unmapped memory",
    "protected-read": "reads protected memory",
    "protected-write": "writes read-only memory",
    "protected-fetch": "jumps to memory that is not code",
    "undefined-instruction": "executes an undefined instruction",
    "exception": "raises a CPU exception",
    "timeout": "did not finish in time",
    "emulator": "makes the emulator fail",
    "halted": "halts the CPU",
    "outside-world": "reaches for what lies outside of the machine (port, system register or call)",
}

_EXCEPTIONS = {
    Arch.X86_64: {
        0: "divide error",
        1: "debug",
        3: "breakpoint",
        4: "overflow",
        6: "undefined instruction",
        7: "no device",
        12: "stack segment",
        13: "general protection",
        14: "page fault",
        17: "alignment check",
    },
    Arch.ARM64: {
        1: "undefined instruction",
        2: "supervisor call",
        3: "prefetch abort",
        4: "data abort",
        7: "breakpoint",
        11: "hypervisor call",
        13: "secure monitor call",
    },
}
"""Names of exception numbers (Intel SDM volume 3, 6.3.1; on arm64 the emulator's own)."""


def fault_of(
    arch: Arch,
    stop: Stop,
    last_pc: int,
    describe: Callable[[int], str],
    symbol: Callable[[int], str],
    code: Callable[[int, int], bytes],
) -> GuestFault:
    """The error of a run that ended with `stop`.

    `describe` gives an address with its symbol, `symbol` that alone, `code` at most so many
    bytes of code at an address.
    """
    pc = last_pc or stop.pc
    instruction = _instruction(arch, code(pc, _LONGEST), pc)
    text = f"guest code at {describe(pc)}"
    if instruction:
        text += f", '{instruction}',"
    text += f" {_WORDS[stop.reason]}"
    access = stop.reason.partition("-")[2]
    if access in ("read", "write", "fetch"):
        text += f" at {describe(stop.address)}"
        if access != "fetch":
            text += f", {stop.size} bytes"
    elif stop.reason == "exception":
        name = _EXCEPTIONS[arch].get(stop.exception)
        text += f" (number {stop.exception}{', ' + name if name else ''})"
    elif stop.reason in ("budget", "trace-full", "timeout"):
        text += f" after {stop.executed} instructions"
    elif stop.reason == "emulator":
        text += f" ({stop.detail})"
    branches = stop.branches[-SHOWN_BRANCHES:]
    if branches:
        arrows = ", ".join(f"{describe(a)} -> {describe(b)}" for a, b in branches)
        text += f"; last branches: {arrows}"
    report = FaultReport(
        stop.reason, pc, symbol(pc), instruction, stop.address, stop.size, stop.executed, branches
    )
    return GuestFault(text, report)


def _instruction(arch: Arch, code: bytes, address: int) -> str:
    if not code:
        return ""
    first = next(disassemble(arch, code, address))
    return f"{first.mnemonic} {first.operands}".strip()
