"""Dumps of JIT output in the forms that tools write them; here what they have in common.

A dump holds functions as machine code, with addresses and names where the form tells them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tramposim.errors import InputError

__all__ = [
    "MAX_CODE",
    "Dump",
    "DumpedFunction",
    "read_bytes",
    "read_symbols",
]

MAX_DUMP = 64 << 20
"""Most bytes of a dump that are read."""
MAX_CODE = 1 << 22
"""Most bytes of code in a dump."""
_SYMBOL = re.compile(r"([0-9a-fA-F]{1,16}) \S ([^\s]+)(?:\s+\[[^\]]*\])?")


@dataclass(frozen=True, slots=True)
class DumpedFunction:
    """Machine code with its name (or "") and address (None if the dump does not tell)."""

    name: str
    code: bytes
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Dump:
    """The functions of one program or image, and names of addresses that the dump mentions."""

    name: str
    functions: tuple[DumpedFunction, ...]
    symbols: Mapping[str, int] = field(default_factory=dict)


def read_bytes(path: Path) -> bytes:
    """The content of a dump file; `InputError` if it cannot be read or is too large."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_DUMP + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    if len(content) > MAX_DUMP:
        raise InputError(f"more than {MAX_DUMP >> 20} MiB", str(path))
    return content


def read_symbols(path: Path) -> dict[str, int]:
    """Names and addresses from a file in the form of /proc/kallsyms (or System.map).

    Raises `InputError` for a line of another form, and if all addresses are zero, as they
    are for readers without privilege.
    """
    symbols: dict[str, int] = {}
    text = read_bytes(path).decode(errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _SYMBOL.fullmatch(line.strip())
        if match is None:
            raise InputError("not `ADDRESS TYPE NAME`, as in /proc/kallsyms", f"{path}:{number}")
        symbols.setdefault(match[2], int(match[1], 16))
    if symbols and not any(symbols.values()):
        raise InputError(
            "all addresses are zero: read /proc/kallsyms as root (kernel.kptr_restrict)", str(path)
        )
    return symbols
