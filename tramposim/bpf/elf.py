"""ELF64 files as compilers write BPF objects: sections, symbols and REL relocations.

A reader of its own, because a damaged file must give one error that names the section and the
offset, in bounded time and memory: sections are slices of the file and nothing is believed
before it is checked. Format: System V ABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from mmap import mmap

from tramposim.errors import InputError

__all__ = ["EM_BPF", "ElfFile", "Rel", "Section", "Symbol", "read_elf", "section_bytes"]

Buffer = bytes | mmap

EM_BPF = 247

PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL = 1, 2, 3, 4, 8, 9
EXECINSTR = 4
ET_REL = 1
SHN_UNDEF, SHN_RESERVED = 0, 0xFF00
LOCAL, WEAK = 0, 2
STT_FUNC, STT_SECTION = 2, 3

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")
_IDENT = b"\x7fELF\x02\x01\x01"
"""64 bits, little endian, version 1."""
MAX_SECTION = 256 << 20
"""Largest section without bytes in the file (.bss)."""


@dataclass(frozen=True, slots=True)
class Rel:
    """A relocation: byte offset in its section, type number, index of the symbol."""

    offset: int
    type: int
    symbol: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section; `data` is empty where the file holds no bytes (`size` still counts)."""

    index: int
    name: str
    type: int
    flags: int
    size: int
    link: int
    info: int
    data: bytes = field(repr=False)

    @property
    def executable(self) -> bool:
        """Whether it holds instructions."""
        return self.type == PROGBITS and bool(self.flags & EXECINSTR)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol; `section` is an index into the sections, or a number from SHN_RESERVED on."""

    name: str
    section: int
    value: int
    size: int
    type: int
    binding: int


@dataclass(frozen=True, slots=True)
class ElfFile:
    """A whole file; `relocations` are by the index of the section that they change."""

    where: str
    type: int
    machine: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: dict[int, tuple[Rel, ...]]

    def section(self, name: str) -> Section | None:
        """The first section with this name."""
        return next((section for section in self.sections if section.name == name), None)

    def symbol(self, index: int, section: str, offset: int) -> Symbol:
        """A relocation's symbol; the section and offset name the relocation in errors."""
        if not 0 < index < len(self.symbols):
            raise InputError(
                f"section {section}, offset {offset:#x}: relocation against symbol {index}, "
                f"which does not exist",
                self.where,
            )
        return self.symbols[index]


def read_elf(content: bytes, where: str) -> ElfFile:
    """Read a little-endian ELF64 file; raises `InputError` naming section and offset."""
    kind, machine, headers, table = _headers(content, where)
    sections = tuple(_section(content, i, fields, table, where) for i, fields in enumerate(headers))
    symbols = _symbols(sections, where)
    return ElfFile(where, kind, machine, sections, symbols, _relocations(sections, where))


def section_bytes(content: Buffer, name: str, where: str) -> bytes | None:
    """The bytes of one section of a file that may be large; None if there is no such section.

    Nothing else of the file is looked at. Raises `InputError` as `read_elf` does.
    """
    _, _, headers, table = _headers(content, where)
    for index, fields in enumerate(headers):
        if index and _string(table, fields[0], f"the name of section {index}", where) == name:
            return _bytes(content, fields, f"section {name}", where)
    return None


def _headers(content: Buffer, where: str) -> tuple[int, int, list[tuple[int, ...]], bytes]:
    """Type and machine of the file, fields of its section headers, the sections' names."""
    if content[: len(_IDENT)] != _IDENT:
        raise InputError("not a little-endian ELF64 file", where)
    if len(content) < _HEADER.size:
        raise InputError("the ELF header is cut off", where)
    header = _HEADER.unpack_from(content)
    _, kind, machine, _, _, _, start, _, _, _, _, entry, count, names = header
    if count and entry != _SECTION.size:
        raise InputError(f"section headers of {entry} bytes; {_SECTION.size} are expected", where)
    if start + count * _SECTION.size > len(content):
        raise InputError(
            f"{count} section headers at {start:#x} reach beyond the file's end", where
        )
    raw = [_SECTION.unpack_from(content, start + i * _SECTION.size) for i in range(count)]
    table = _bytes(content, raw[names], "the section names", where) if names < count else b""
    return kind, machine, raw, table


def _bytes(content: Buffer, fields: tuple[int, ...], name: str, where: str) -> bytes:
    """Bytes of the section with these header fields."""
    offset, size = fields[4], fields[5]
    if fields[1] in (NOBITS, 0):
        return b""
    if offset + size > len(content):
        raise InputError(
            f"{name}: {size} bytes at {offset:#x} reach beyond the file's end "
            f"({len(content)} bytes)",
            where,
        )
    return content[offset : offset + size]


def _section(
    content: bytes, index: int, fields: tuple[int, ...], table: bytes, where: str
) -> Section:
    name = _string(table, fields[0], f"the name of section {index}", where) if index else ""
    data = _bytes(content, fields, f"section {name or index}", where)
    if fields[1] == NOBITS and fields[5] > MAX_SECTION:
        raise InputError(f"section {name}: {fields[5]} bytes of zeros", where)
    return Section(index, name, fields[1], fields[2], fields[5], fields[6], fields[7], data)


def _string(table: bytes, offset: int, what: str, where: str) -> str:
    end = table.find(b"\0", offset) if offset < len(table) else -1
    if end < 0:
        raise InputError(f"{what} (offset {offset:#x}) lies outside of its strings", where)
    return table[offset:end].decode(errors="replace")


def _whole(section: Section, unit: int, where: str) -> bytes:
    if len(section.data) % unit:
        raise InputError(
            f"section {section.name}: {len(section.data)} bytes; its entries have {unit}", where
        )
    return section.data


def _symbols(sections: tuple[Section, ...], where: str) -> tuple[Symbol, ...]:
    tables = [section for section in sections if section.type == SYMTAB]
    if not tables:
        return ()
    if len(tables) > 1:
        raise InputError("more than one symbol table", where)
    table = tables[0]
    if table.link >= len(sections) or sections[table.link].type != STRTAB:
        raise InputError(f"section {table.name}: its strings are no string table", where)
    strings = sections[table.link].data
    symbols = []
    for index, fields in enumerate(_SYMBOL.iter_unpack(_whole(table, _SYMBOL.size, where))):
        name, info, _, section, value, size = fields
        text = _string(strings, name, f"the name of symbol {index}", where) if name else ""
        if section < SHN_RESERVED and section >= len(sections):
            raise InputError(
                f"symbol {text or index} lies in section {section}, but there are {len(sections)}",
                where,
            )
        if info & 15 == STT_SECTION and section < len(sections):
            text = sections[section].name
        symbols.append(Symbol(text, section, value, size, info & 15, info >> 4))
    return tuple(symbols)


def _relocations(sections: tuple[Section, ...], where: str) -> dict[int, tuple[Rel, ...]]:
    found: dict[int, tuple[Rel, ...]] = {}
    for section in sections:
        if section.type not in (REL, RELA):
            continue
        if section.info >= len(sections):
            raise InputError(
                f"section {section.name} changes section {section.info}, "
                f"but there are {len(sections)}",
                where,
            )
        if section.info in found:
            raise InputError(f"section {section.name}: a second relocation section", where)
        target = sections[section.info]
        if section.type == RELA:
            if target.executable:
                raise InputError(
                    f"section {section.name}: relocations with addends; BPF objects have REL",
                    where,
                )
            continue
        entries = []
        for offset, info in _REL.iter_unpack(_whole(section, _REL.size, where)):
            if offset >= target.size:
                raise InputError(
                    f"section {section.name}: offset {offset:#x} lies outside of "
                    f"{target.name} ({target.size} bytes)",
                    where,
                )
            entries.append(Rel(offset, info & 0xFFFFFFFF, info >> 32))
        found[section.info] = tuple(entries)
    return found
