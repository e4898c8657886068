"""`.BTF.ext` of an object: source lines and CO-RE relocations by instruction.

Format: Documentation/bpf/btf.rst, "The .BTF.ext section". Offsets of instructions are bytes
in the section that the records name, as compilers leave them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tramposim.bpf.btf import Btf
from tramposim.errors import InputError

__all__ = ["BtfExt", "CoreRelocation", "parse_btf_ext"]

_HEADER = struct.Struct("<HBBIIIII")
_CORE = struct.Struct("<II")
_GROUP = struct.Struct("<II")
_RECORDS = {"func_info": 8, "line_info": 16, "core_relo": 16}
"""Bytes of a record of each table that are understood; later formats may append."""
_MAGIC = 0xEB9F
_LINE_SHIFT = 10


@dataclass(frozen=True, slots=True)
class CoreRelocation:
    """A CO-RE relocation: root type, access string (`0:1:2`), kind as the format numbers it."""

    type: int
    access: str
    kind: int


@dataclass(frozen=True, slots=True)
class BtfExt:
    """The tables by section name; keys of the inner ones are byte offsets in that section.

    `lines` hold `file:LINE: source text`.
    """

    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    core: dict[str, dict[int, list[CoreRelocation]]] = field(default_factory=dict)


def parse_btf_ext(data: bytes, btf: Btf, where: str) -> BtfExt:
    """Parse the section; `btf` holds its strings. Raises `InputError` for malformed data."""
    if len(data) < _HEADER.size:
        raise InputError("ends inside its header", where)
    magic, version, _, size, *tables = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != 1 or not _HEADER.size <= size <= len(data):
        raise InputError("not little-endian BTF.ext of version 1", where)
    if size >= _HEADER.size + _CORE.size:
        tables += _CORE.unpack_from(data, _HEADER.size)
    found = BtfExt()
    for name, at, length in zip(_RECORDS, tables[::2], tables[1::2], strict=False):
        if size + at + length > len(data):
            raise InputError(f"{name}: {length} bytes at {size + at:#x} are cut off", where)
        for section, record in _records(data[size + at : size + at + length], name, btf, where):
            _keep(found, name, section, record, btf)
    return found


def _records(
    table: bytes, name: str, btf: Btf, where: str
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Section name and words of every record of a table."""
    if not table:
        return
    if len(table) < 4:
        raise InputError(f"{name} ends inside its header", where)
    (size,) = struct.unpack_from("<I", table)
    understood = _RECORDS[name]
    if size < understood or size % 4:
        raise InputError(f"{name}: records of {size} bytes; {understood} are expected", where)
    layout = struct.Struct(f"<{understood // 4}I")
    position = 4
    while position < len(table):
        if position + _GROUP.size > len(table):
            raise InputError(f"{name} ends at {position:#x} inside a section's header", where)
        section, count = _GROUP.unpack_from(table, position)
        position += _GROUP.size
        if count == 0 or position + count * size > len(table):
            raise InputError(f"{name}: {count} records at {position:#x} do not fit", where)
        text = btf.text(section)
        for index in range(count):
            yield text, layout.unpack_from(table, position + index * size)
        position += count * size


def _keep(found: BtfExt, name: str, section: str, record: tuple[int, ...], btf: Btf) -> None:
    if name == "line_info":
        offset, file, text, column = record
        line = f"{PurePosixPath(btf.text(file)).name}:{column >> _LINE_SHIFT}"
        source = btf.text(text).strip()
        found.lines.setdefault(section, {})[offset] = f"{line}: {source}" if source else line
    elif name == "core_relo":
        offset, number, access, kind = record
        relocation = CoreRelocation(number, btf.text(access), kind)
        found.core.setdefault(section, {}).setdefault(offset, []).append(relocation)
