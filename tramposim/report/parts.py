"""Parts of keys, values and global variables as text."""

from __future__ import annotations

from collections.abc import Iterator

from tramposim.spec import Scalar

__all__ = ["part_text"]


def part_text(part: Scalar, data: bytes) -> str:
    """`calls=2`, `comm="task"`, `slots[3]=1 slots[4]=7` (the ones that are not zero); the bare
    value of a part without a name."""
    if part.text:
        raw = data[part.offset : part.offset + part.size].split(b"\0")[0]
        text = raw.decode(errors="backslashreplace")
        return _named(part.name, f'"{text}"')
    if part.count == 1:
        return _named(part.name, _number(part, data, 0))
    return " ".join(_elements(part, data)) or _named(part.name, "0")


def _elements(part: Scalar, data: bytes) -> Iterator[str]:
    for index in range(part.count):
        number = _number(part, data, index)
        if number not in ("0", "0x0"):
            yield f"{part.name}[{index}]={number}"


def _named(name: str, value: str) -> str:
    return f"{name}={value}" if name else value


def _number(part: Scalar, data: bytes, index: int) -> str:
    at = part.offset + index * part.size
    number = int.from_bytes(data[at : at + part.size], "little", signed=part.signed)
    return hex(number) if part.hexadecimal else str(number)
