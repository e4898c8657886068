"""Text of `objdump -d` (binutils or LLVM): functions with addresses, bytes and call names."""

from __future__ import annotations

import re

from tramposim.capture.dump import MAX_CODE, Dump, DumpedFunction
from tramposim.errors import InputError

__all__ = ["is_objdump", "parse_objdump"]

_HEAD = re.compile(r"([0-9a-fA-F]{1,16}) <([^>]+)>:\s*$")
_INSN = re.compile(
    r"\s*([0-9a-fA-F]{1,16}):[ \t]+"
    r"((?:[0-9a-fA-F]{2}(?=[ \t]|$)[ \t]?)+|[0-9a-fA-F]{8}(?=[ \t]))(.*)$"
)
_NAMED = re.compile(r"(?:0x)?([0-9a-fA-F]{5,16}) <([^>+]+)>")
_GAP = 4096


def is_objdump(text: str) -> bool:
    """Whether a text looks like a disassembly."""
    lines = text.splitlines()[:200]
    return any(_HEAD.match(line) or "file format" in line for line in lines) or any(
        _INSN.match(line) for line in lines
    )


def parse_objdump(text: str, where: str) -> tuple[Dump, ...]:
    """One dump with all functions of the text.

    A function begins at each label and wherever the addresses leave a gap. arm64 words are
    printed as numbers, x86_64 bytes in memory order. Raises `InputError` for bytes that
    overlap and for a text without instructions.
    """
    functions: list[DumpedFunction] = []
    symbols: dict[str, int] = {}
    name, start, code = "", 0, bytearray()

    def finish() -> None:
        if code:
            functions.append(DumpedFunction(name, bytes(code), start))

    for number, line in enumerate(text.splitlines(), 1):
        head = _HEAD.match(line)
        if head:
            finish()
            name, start, code = head[2], int(head[1], 16), bytearray()
            continue
        found = _INSN.match(line)
        if found is None:
            continue
        address, data = int(found[1], 16), _bytes(found[2])
        if code and address != start + len(code):
            if not 0 < address - start - len(code) <= _GAP:
                finish()
                name, start, code = "", address, bytearray()
            else:
                raise InputError(
                    f"an instruction at {address:#x}, the last one ends at"
                    f" {start + len(code):#x} (objdump without -z leaves zeros out)",
                    f"{where}:{number}",
                )
        elif not code:
            start = address
        code += data
        if len(code) > MAX_CODE:
            raise InputError(f"more than {MAX_CODE >> 20} MiB of code", f"{where}:{number}")
        for target, symbol in _NAMED.findall(found[3]):
            symbols.setdefault(symbol, int(target, 16))
    finish()
    if not functions:
        raise InputError("no instructions as `objdump -d` prints them", where)
    return (Dump(functions[0].name or "code", tuple(functions), symbols),)


def _bytes(text: str) -> bytes:
    """Bytes in memory order; a single group of eight digits is an arm64 word."""
    text = text.strip()
    data = bytes.fromhex(text)
    return data[::-1] if len(text) == 8 and " " not in text else data
