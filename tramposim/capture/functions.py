"""`func` records: functions of a kernel's text, as they execute, and what they call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tramposim.capture.view import KernelView
from tramposim.errors import InputError
from tramposim.spec import Arch

__all__ = ["called_by", "function_records"]

MAX_FUNCTION = 1 << 14
"""Longest function recorded, in bytes."""
MAX_FUNCTIONS = 400
MAX_DEPTH = 3
"""How many calls away from the roots functions are recorded."""
_BEFORE = 16
_ACCOUNTING = 9
"""Bytes of x86_64's call-depth accounting, which lies right before functions."""


def function_records(view: KernelView, roots: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Records of the functions at `roots` and of those that they call, nearest first.

    What cannot be read (outside the kernel's own text) is left out: replaying what needs it
    says that it is not captured.
    """
    waiting = [(address, 0) for address in dict.fromkeys(roots)]
    seen = {address for address, _ in waiting}
    recorded = 0
    for address, depth in waiting:
        record = _record(view, address, depth)
        if record is None:
            continue
        yield record
        recorded += 1
        if recorded == MAX_FUNCTIONS:
            return
        for call in record["calls"]:
            start = _start(view, call["target"])
            if start is not None and start not in seen and depth < MAX_DEPTH:
                seen.add(start)
                waiting.append((start, depth + 1))


def _record(view: KernelView, address: int, depth: int) -> dict[str, Any] | None:
    names = view.symbols.names_at(address)
    size = view.symbols.size_of(address)
    if not names or not 0 < size <= MAX_FUNCTION:
        return None
    try:
        code = view.memory.read(address, size)
    except InputError:
        return None
    try:
        before = view.memory.read(address - _BEFORE, _BEFORE).hex()
    except InputError:
        before = None
    calls = [
        {"insn": insn, "target": target, "sym": _name(view, target)}
        for insn, target in called_by(view.arch, code, address)
    ]
    return {
        "rec": "func",
        "name": names[0],
        "aliases": list(names[1:]),
        "addr": address,
        "size": size,
        "bytes": code.hex(),
        "pre16": before,
        "depth": depth,
        "calls": calls,
        "refs": [],
    }


def _start(view: KernelView, target: int) -> int | None:
    """The function that a branch goes into; with call-depth accounting it goes before it."""
    if not view.symbols.names_at(target) and view.symbols.names_at(target + _ACCOUNTING):
        return target + _ACCOUNTING
    found = view.symbols.function_at(target)
    return found[1] if found is not None else None


def _name(view: KernelView, address: int) -> str:
    found = view.symbols.function_at(address)
    if found is None:
        return f"{address:#x}"
    name, start = found
    return name if start == address else f"{name}+{address - start:#x}"


def called_by(arch: Arch, code: bytes, address: int) -> Iterator[tuple[str, int]]:
    """Direct calls and jumps that leave the code: what they are (call, jmp), their target."""
    inside = range(address, address + len(code))
    branches = _x86_64(code, address) if arch is Arch.X86_64 else _arm64(code, address)
    seen = set()
    for branch in branches:
        if branch[1] not in inside and branch not in seen:
            seen.add(branch)
            yield branch


def _x86_64(code: bytes, address: int) -> Iterator[tuple[str, int]]:
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.skipdata = True
    for _, _, mnemonic, operands in decoder.disasm_lite(code, address):  # type: ignore[no-untyped-call]
        if mnemonic[0] in "cj" and operands.startswith("0x"):
            yield "call" if mnemonic == "call" else "jmp", int(operands, 16)


def _arm64(code: bytes, address: int) -> Iterator[tuple[str, int]]:
    for at in range(0, len(code) - 3, 4):
        word = int.from_bytes(code[at : at + 4], "little")
        if word >> 26 & 0x1F == 5:
            offset = (word & 0x3FFFFFF) - (1 << 26 if word & 0x2000000 else 0)
            target = address + at + 4 * offset & (1 << 64) - 1
            yield "call" if word >> 31 else "jmp", target
        elif word >> 24 & 0x7E in (0x34, 0x54):
            # cbz, cbnz and b.cond: 19 bits.
            offset = (word >> 5 & 0x7FFFF) - (1 << 19 if word & 0x800000 else 0)
            yield "jmp", address + at + 4 * offset & (1 << 64) - 1
