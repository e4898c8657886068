"""Text that programs print: the conversions of bpf_trace_printk and its relatives.

The helpers take what bpf_bprintf_prepare (kernel/bpf/helpers.c) lets through: integers with
`l` and `ll`, `%c`, strings, pointers and IP addresses, with flags and a width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from tramposim.bpf.alu import signed
from tramposim.bpf.memory import Memory
from tramposim.errors import GuestFault

__all__ = ["MAX_STRING", "FormatRefused", "format_text", "read_string"]

MAX_STRING = 512
"""Longest string that one conversion prints (MAX_BPRINTF_BUF shares 512 bytes)."""


class FormatRefused(Exception):
    """The kernel returns -EINVAL for this format; the message says so to people."""


_CONVERSION = re.compile(
    r"%(?:%|(?P<flags>[-+ 0]*)(?P<width>\d*)"
    r"(?P<kind>(?P<long>l{0,2})[diuxX]|c|s|p(?:[iI][46]|[ku]s|[KxsSB]|(?![0-9A-Za-z]))))"
)


def read_string(memory: Memory, address: int, most: int = MAX_STRING) -> bytes:
    """Bytes before the first zero byte, at most `most`; those before unmapped memory."""
    found = bytearray()
    while len(found) < most:
        try:
            byte = memory.read(address + len(found), 1)
        except GuestFault:
            break
        if byte == b"\0":
            break
        found += byte
    return bytes(found)


def format_text(text: str, values: Sequence[int], memory: Memory, helper: str) -> str:
    """`text` with the 64-bit `values` put in; strings and addresses are read from `memory`.

    Pointers are printed as they are (a kernel prints a hash for `%p`). Raises `FormatRefused`
    for a conversion that the kernel refuses, and for too few values.
    """
    refused = FormatRefused(f"{helper} refuses the format {text!r} (EINVAL): nothing is printed")
    remaining = list(values)

    def convert(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if not remaining:
            raise refused
        shown = _convert(match, remaining.pop(0), memory)
        width = int(match["width"] or 0)
        if "-" in match["flags"]:
            return shown.ljust(width)
        if "0" in match["flags"] and match["kind"][-1] in "diuxX":
            return shown.zfill(width)
        return shown.rjust(width)

    if "%" in _CONVERSION.sub("", text):
        raise refused
    return _CONVERSION.sub(convert, text.removesuffix("\n"))


def _convert(match: re.Match[str], value: int, memory: Memory) -> str:
    kind, flags = match["kind"], match["flags"]
    if kind == "c":
        return chr(value & 0xFF)
    if kind in ("s", "pks", "pus"):
        return read_string(memory, value).decode(errors="replace")
    if kind[:2] in ("pi", "pI"):
        return _ip_address(kind, memory, value)
    if kind.startswith("p"):
        return f"{value:016x}"
    bits = 64 if match["long"] else 32
    value &= (1 << bits) - 1
    if kind[-1] in "xX":
        return f"{value:{kind[-1]}}"
    if kind[-1] in "di":
        value = signed(value, bits)
        sign = "+" if "+" in flags else " " if " " in flags else ""
        return f"{sign}{value}" if value >= 0 else str(value)
    return str(value)


def _ip_address(kind: str, memory: Memory, at: int) -> str:
    """`%pi4` with leading zeros, `%pI4` without; `%pi6` bare, `%pI6` with colons."""
    raw = memory.read(at, 4 if kind[2] == "4" else 16)
    if kind == "pI4":
        return str(IPv4Address(raw))
    if kind == "pi4":
        return ".".join(f"{byte:03d}" for byte in raw)
    return raw.hex() if kind == "pi6" else IPv6Address(raw).exploded
