"""A reader of relocatable ELF64 objects: sections, symbols and relocations, nothing more.

It reads the objects of the guest runtime, which are small and loaded on every run; a general
library takes longer to import than this takes to read them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tramposim.errors import InputError

__all__ = ["ElfObject", "Rela", "Section", "Symbol", "read_object"]

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")

_SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS = 2, 4, 8
_SHF_ALLOC, _SHF_EXECINSTR = 2, 4
_ET_REL = 1
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
_STT_SECTION, _STT_FILE = 3, 4


@dataclass(frozen=True, slots=True)
class Rela:
    """One relocation: where in its section, its type number, the symbol's index, addend."""

    offset: int
    type: int
    symbol: int
    addend: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section; `data` is empty where the file holds no bytes (`size` still counts)."""

    name: str
    data: bytes
    size: int
    align: int
    alloc: bool
    executable: bool
    relocations: tuple[Rela, ...]


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol; `section` is an index into the sections, None if undefined here.

    A section's own symbol has that section's name.
    """

    name: str
    section: int | None
    value: int
    size: int
    function: bool


@dataclass(frozen=True, slots=True)
class ElfObject:
    """A whole object: the machine (EM_ number), sections and symbols by their ELF index."""

    machine: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]


def _name(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode("ascii")


def _read(blob: bytes) -> ElfObject:
    ident, kind, machine, _, _, _, shoff, _, _, _, _, shentsize, shnum, shstrndx = (
        _HEADER.unpack_from(blob)
    )
    if ident[:6] != b"\x7fELF\x02\x01" or kind != _ET_REL or shentsize != _SECTION.size:
        raise ValueError("not a little-endian ELF64 relocatable object")
    headers = [_SECTION.unpack_from(blob, shoff + i * shentsize) for i in range(shnum)]

    def content(index: int) -> bytes:
        header = headers[index]
        if header[1] == _SHT_NOBITS:
            return b""
        data = blob[header[4] : header[4] + header[5]]
        if len(data) != header[5]:
            raise ValueError(f"section {index} reaches behind the end of the file")
        return data

    names = content(shstrndx)
    relocations: dict[int, tuple[Rela, ...]] = {}
    symbols: tuple[Symbol, ...] = ()
    for index, header in enumerate(headers):
        if header[1] == _SHT_RELA:
            relocations[header[7]] = relocations.get(header[7], ()) + tuple(
                Rela(offset, info & 0xFFFFFFFF, info >> 32, addend)
                for offset, info, addend in _RELA.iter_unpack(content(index))
            )
        elif header[1] == _SHT_SYMTAB:
            strings = content(header[6])
            found = []
            for name, info, _, section, value, size in _SYMBOL.iter_unpack(content(index)):
                if section == _SHN_ABS and info & 15 != _STT_FILE:
                    raise ValueError(f"absolute symbol {_name(strings, name)}")
                defined = section not in (_SHN_UNDEF, _SHN_ABS)
                text = _name(strings, name)
                if info & 15 == _STT_SECTION:
                    text = _name(names, headers[section][0])
                found.append(
                    Symbol(text, section if defined else None, value, size, info & 15 == 2)
                )
            symbols = tuple(found)
    sections = tuple(
        Section(
            _name(names, header[0]),
            content(index),
            header[5],
            max(1, header[8]),
            bool(header[2] & _SHF_ALLOC),
            bool(header[2] & _SHF_EXECINSTR),
            relocations.get(index, ()),
        )
        for index, header in enumerate(headers)
    )
    return ElfObject(machine, sections, symbols)


def read_object(blob: bytes, where: str) -> ElfObject:
    """Reads an object from its bytes; raises `InputError` naming `where` if it is broken."""
    try:
        return _read(blob)
    except (ValueError, struct.error, IndexError) as error:
        raise InputError(f"broken ELF object: {error}", where) from error
