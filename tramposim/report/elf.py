"""An image as an ELF file that objdump, gdb and other tools read.

The file is an executable whose only section lies at the image's address, so that branches
and calls disassemble to their real targets. Parts of the image are local symbols, call
targets absolute ones. Format: System V ABI, chapter 4.
"""

from __future__ import annotations

import re
import struct

from tramposim.kernel.image import Image
from tramposim.spec import Arch

__all__ = ["image_elf"]

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")

_MACHINE = {Arch.X86_64: 62, Arch.ARM64: 183}
_ET_EXEC, _PT_LOAD, _READ_EXECUTE = 2, 1, 5
_PROGBITS, _SYMTAB, _STRTAB = 1, 2, 3
_ALLOC_EXEC = 6
_LOCAL, _GLOBAL, _NOTYPE, _FUNC = 0, 1, 0, 2
_TEXT, _ABSOLUTE = 1, 0xFFF1
_SECTIONS = ("", ".text", ".symtab", ".strtab", ".shstrtab")


class _Strings:
    """A string table under construction."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        offset = len(self.data)
        self.data += text.encode() + b"\0"
        return offset


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_")


def image_elf(image: Image, name: str) -> bytes:
    """The file's bytes; `name` is the symbol of the whole image."""
    strings = _Strings()
    symbols = [_SYMBOL.pack(0, 0, 0, 0, 0, 0)]

    def symbol(text: str, bind: int, kind: int, section: int, value: int, size: int = 0) -> None:
        symbols.append(_SYMBOL.pack(strings.add(text), bind << 4 | kind, 0, section, value, size))

    for part in image.parts:
        symbol(
            _identifier(part.name), _LOCAL, _NOTYPE, _TEXT, image.address + part.start,
            part.end - part.start,
        )  # fmt: skip
    first_global = len(symbols)
    symbol(_identifier(name), _GLOBAL, _FUNC, _TEXT, image.address, len(image.code))
    for address, target in image.symbols.items():
        symbol(target, _GLOBAL, _NOTYPE, _ABSOLUTE, address)

    section_names = _Strings()
    name_offsets = [section_names.add(text) if text else 0 for text in _SECTIONS]
    contents = (b"", image.code, b"".join(symbols), strings.data, section_names.data)
    offset = _HEADER.size + _PROGRAM.size
    offsets = []
    for content in contents:
        offset += -offset % 16
        offsets.append(offset)
        offset += len(content)
    table = offset + -offset % 16

    header = _HEADER.pack(
        b"\x7fELF\x02\x01\x01", _ET_EXEC, _MACHINE[image.arch], 1, image.address,
        _HEADER.size, table, 0, _HEADER.size, _PROGRAM.size, 1, _SECTION.size,
        len(_SECTIONS), len(_SECTIONS) - 1,
    )  # fmt: skip
    program = _PROGRAM.pack(
        _PT_LOAD, _READ_EXECUTE, offsets[_TEXT], image.address, image.address,
        len(image.code), len(image.code), 1,
    )  # fmt: skip
    kinds = (
        (0, 0, 0, 0, 0, 0),
        (_PROGBITS, _ALLOC_EXEC, image.address, 0, 0, 0),
        (_SYMTAB, 0, 0, 3, first_global, _SYMBOL.size),
        (_STRTAB, 0, 0, 0, 0, 0),
        (_STRTAB, 0, 0, 0, 0, 0),
    )
    out = bytearray(header + program)
    for at, content in zip(offsets, contents, strict=True):
        out += bytes(at - len(out)) + content
    out += bytes(table - len(out))
    for number, (kind, flags, address, link, info, entry) in enumerate(kinds):
        placed = (offsets[number], len(contents[number])) if number else (0, 0)
        out += _SECTION.pack(
            name_offsets[number], kind, flags, address, *placed, link, info, 1 if number else 0,
            entry,
        )  # fmt: skip
    return bytes(out)
