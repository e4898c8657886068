"""BPF Type Format: types and strings of an object's `.BTF` or of a kernel's `vmlinux` file.

`prototype_from_btf(FILE, NAME)` in `tramposim.bpf.vmlinux` is the way from a kernel's file to
the prototype of a function; this module reads the format (Documentation/bpf/btf.rst). Every
offset, length and reference is checked before it is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EINVAL

from tramposim.errors import AttachError, InputError, UnsupportedError
from tramposim.spec import MAX_ARGUMENTS, Prototype, Value

__all__ = ["Btf", "BtfType", "Enumerator", "Kind", "Member", "Variable", "parse_btf"]


class Kind:
    """Kinds of types as the format numbers them."""

    VOID, INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(9)
    VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT = range(9, 17)
    DECL_TAG, TYPE_TAG, ENUM64 = range(17, 20)


KIND_NAMES = [
    "UNKNOWN",
    "INT",
    "PTR",
    "ARRAY",
    "STRUCT",
    "UNION",
    "ENUM",
    "FWD",
    "TYPEDEF",
    "VOLATILE",
    "CONST",
    "RESTRICT",
    "FUNC",
    "FUNC_PROTO",
    "VAR",
    "DATASEC",
    "FLOAT",
    "DECL_TAG",
    "TYPE_TAG",
    "ENUM64",
]
"""Names that kernels print for the kinds (btf_kind_str)."""

ALIASES = (
    Kind.TYPEDEF,
    Kind.VOLATILE,
    Kind.CONST,
    Kind.RESTRICT,
    Kind.TYPE_TAG,
)
"""Kinds that stand for another type."""
COMPOSITES = (Kind.STRUCT, Kind.UNION)
ENUMS = (Kind.ENUM, Kind.ENUM64)

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_TRIPLE = struct.Struct("<III")
_PAIR = struct.Struct("<II")
_UNIT = {Kind.STRUCT: 12, Kind.UNION: 12, Kind.DATASEC: 12, Kind.ENUM64: 12}
_UNIT |= {Kind.ENUM: 8, Kind.FUNC_PROTO: 8}
"""Bytes for each of the elements that a kind lists."""
_FIXED = {Kind.INT: 4, Kind.VAR: 4, Kind.DECL_TAG: 4, Kind.ARRAY: 12}
_REFERRING = (Kind.PTR, *ALIASES, Kind.FUNC, Kind.FUNC_PROTO, Kind.VAR, Kind.DECL_TAG)
_MAX_DEPTH = 64
_MAX_BYTES = 64 << 20
_LARGEST_STRUCT = 16
"""Bytes of a struct that is passed by value in registers."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct or union; `offset` and `bits` in bits (`bits` 0: no bit field)."""

    name: str
    type: int
    offset: int
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Enumerator:
    """A constant of an enumeration."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a data section; `offset` and `size` in bytes, as the compiler left them."""

    type: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class BtfType:
    """A type: `kind` as numbered by the format; `value` is its size or the id it refers to.

    `flag` is the common part's kind_flag; `data` are the bytes that follow the common part.
    """

    kind: int
    name: str
    value: int
    flag: bool
    data: bytes


class Btf:
    """Parsed type information; ids begin at 1, 0 is void. `where` names it in errors."""

    def __init__(self, types: bytes, places: list[int], strings: bytes, where: str) -> None:
        self.where = where
        self._types = types
        self._places = places
        self._strings = strings
        self._decoded: dict[int, BtfType] = {}
        self._ids: dict[str, list[int]] | None = None

    def __len__(self) -> int:
        """Number of types, void not counted."""
        return len(self._places)

    def text(self, offset: int) -> str:
        """The string at an offset; raises `InputError` for one outside of the section."""
        return _text(self._strings, offset, self.where)

    def get(self, number: int) -> BtfType:
        """A type by id; raises `InputError` for an id that does not exist or is void."""
        found = self._decoded.get(number)
        if found is None:
            if not 1 <= number <= len(self._places):
                raise InputError(f"BTF has no type {number}", self.where)
            place = self._places[number - 1]
            name, info, value = _TYPE.unpack_from(self._types, place)
            kind, start = info >> 24 & 0x1F, place + _TYPE.size
            data = self._types[start : start + _length(kind, info & 0xFFFF)]
            found = BtfType(kind, self.text(name), value, bool(info >> 31), data)
            self._decoded[number] = found
        return found

    def ids(self, name: str, *kinds: int) -> tuple[int, ...]:
        """Ids of the types with this name, of any of these kinds (none given: of all)."""
        if self._ids is None:
            self._ids = {}
            for number in range(1, len(self) + 1):
                (offset,) = struct.unpack_from("<I", self._types, self._places[number - 1])
                if offset:
                    self._ids.setdefault(self.text(offset), []).append(number)
        found = self._ids.get(name, ())
        return tuple(i for i in found if not kinds or self.get(i).kind in kinds)

    def skip(self, number: int) -> int:
        """Id of the type behind typedefs and qualifiers (0: void)."""
        start = number
        for _ in range(_MAX_DEPTH):
            if number == 0 or self.get(number).kind not in ALIASES:
                return number
            number = self.get(number).value
        raise InputError(f"BTF type {start} refers to itself", self.where)

    def resolved(self, number: int) -> BtfType | None:
        """The type behind typedefs and qualifiers; None for void."""
        number = self.skip(number)
        return self.get(number) if number else None

    def members(self, owner: BtfType) -> Iterator[Member]:
        """Members of a struct or union."""
        for name, number, place in _TRIPLE.iter_unpack(owner.data):
            if owner.flag:
                yield Member(self.text(name), number, place & 0xFFFFFF, place >> 24)
            else:
                yield Member(self.text(name), number, place)

    def enumerators(self, owner: BtfType) -> Iterator[Enumerator]:
        """Constants of an enumeration; negative ones only if it is signed."""
        if owner.kind == Kind.ENUM:
            for name, value in _PAIR.iter_unpack(owner.data):
                signed = owner.flag and value >> 31
                yield Enumerator(self.text(name), value - (1 << 32) if signed else value)
            return
        for name, low, high in _TRIPLE.iter_unpack(owner.data):
            value = high << 32 | low
            signed = owner.flag and value >> 63
            yield Enumerator(self.text(name), value - (1 << 64) if signed else value)

    def parameters(self, owner: BtfType) -> Iterator[tuple[str, int]]:
        """Names and types of a function prototype's parameters; a last type 0 is `...`."""
        for name, number in _PAIR.iter_unpack(owner.data):
            yield self.text(name), number

    def variables(self, owner: BtfType) -> Iterator[Variable]:
        """Variables of a data section."""
        for number, offset, size in _TRIPLE.iter_unpack(owner.data):
            yield Variable(number, offset, size)

    def array(self, owner: BtfType) -> tuple[int, int]:
        """Element type and number of elements of an array."""
        element, _, count = _TRIPLE.unpack(owner.data)
        return element, count

    def integer(self, owner: BtfType) -> tuple[int, bool]:
        """Bits of an integer and whether it is signed."""
        (word,) = struct.unpack("<I", owner.data)
        return word & 0xFF, bool(word >> 24 & 1)

    def size(self, number: int) -> int:
        """Size of a type in bytes; raises `InputError` for void and functions."""
        count = 1
        for _ in range(_MAX_DEPTH):
            found = self.resolved(number)
            if found is None or found.kind in (Kind.FUNC, Kind.FUNC_PROTO, Kind.FWD):
                raise InputError(f"BTF type {number} has no size", self.where)
            if found.kind == Kind.ARRAY:
                number, elements = self.array(found)
                count *= elements
            elif found.kind in (Kind.VAR, Kind.DECL_TAG):
                number = found.value
            else:
                return count * (8 if found.kind == Kind.PTR else found.value)
        raise InputError(f"BTF type {number} refers to itself", self.where)

    def prototype(self, name: str) -> Prototype:
        """Prototype of the function `name`, as btf_distill_func_proto models it.

        Raises `InputError` if there is no such function, `AttachError` with the kernel's
        words for one that kernels do not trace.
        """
        functions = self.ids(name, Kind.FUNC)
        if not functions:
            raise InputError(f"BTF has no function {name!r}", self.where)
        proto = self.resolved(self.get(functions[0]).value)
        if proto is None or proto.kind != Kind.FUNC_PROTO:
            raise InputError(f"function {name!r} has no prototype in BTF", self.where)
        types = [number for _, number in self.parameters(proto)]
        if len(types) > MAX_ARGUMENTS:
            _refuse(f"The function {name} has {len(types)} arguments. Too many.")
        returns, kind = self._value(proto.value)
        if proto.value and (returns is None or returns.struct):
            _refuse(f"The function {name} return type {kind} is unsupported.")
        arguments = []
        for index, number in enumerate(types):
            if number == 0 and index == len(types) - 1:
                _refuse(f"The function {name} with variable args is unsupported.")
            value, kind = self._value(number)
            if value is None or value.size > _LARGEST_STRUCT:
                _refuse(f"The function {name} arg{index} type {kind} is unsupported.")
            elif value.size == 0:
                _refuse(f"The function {name} has malformed void argument.")
            else:
                arguments.append(value)
        return Prototype(name, tuple(arguments), returns)

    def _value(self, number: int) -> tuple[Value | None, str]:
        """How a type is passed (None: not at all), and the name of its kind."""
        found = self.resolved(number)
        if found is None:
            return None, KIND_NAMES[Kind.VOID]
        kind = KIND_NAMES[found.kind]
        if found.kind == Kind.INT:
            return Value(found.value, signed=self.integer(found)[1]), kind
        if found.kind == Kind.PTR:
            return Value(8), kind
        if found.kind in ENUMS:
            return Value(found.value), kind
        if found.kind in COMPOSITES:
            return Value(found.value, struct=True), kind
        return None, kind


def _refuse(log: str) -> None:
    raise AttachError(log, EINVAL, log)


def parse_btf(data: bytes, where: str) -> Btf:
    """Parse little-endian BTF; raises `InputError` naming `where` for malformed data.

    All references between types are checked to exist; a kind that is not known is an
    `UnsupportedError`, because nothing behind it can be found.
    """
    if len(data) < _HEADER.size:
        raise InputError("BTF ends inside its header", where)
    magic, version, _, header, type_at, type_size, text_at, text_size = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != 1 or header < _HEADER.size:
        raise InputError("not little-endian BTF of version 1", where)
    types, strings = (
        data[header + start : header + start + size]
        for start, size in ((type_at, type_size), (text_at, text_size))
    )
    if len(types) != type_size or len(strings) != text_size:
        raise InputError(
            f"BTF is cut off: {type_size} bytes of types and {text_size} of strings in "
            f"{len(data)} bytes",
            where,
        )
    if strings[:1] != b"\0" or strings[-1:] != b"\0":
        raise InputError("BTF strings do not begin and end with a zero byte", where)
    if len(data) > _MAX_BYTES:
        raise InputError(f"more than {_MAX_BYTES >> 20} MiB of BTF", where)
    return Btf(types, _places(types, len(strings), where), strings, where)


def _length(kind: int, count: int) -> int:
    """Bytes that follow the common part of a type."""
    return _UNIT[kind] * count if kind in _UNIT else _FIXED.get(kind, 0)


def _places(types: bytes, strings: int, where: str) -> list[int]:
    """Offset of each type, after checking what every type refers to."""
    places: list[int] = []
    highest = position = 0
    end = len(types)
    while position < end:
        if position + _TYPE.size > end:
            raise InputError(f"BTF ends inside a type (byte {position} of the types)", where)
        name, info, value = _TYPE.unpack_from(types, position)
        kind = info >> 24 & 0x1F
        if not Kind.INT <= kind <= Kind.ENUM64:
            raise UnsupportedError(f"{where}: BTF type {len(places) + 1} is of kind {kind}")
        if name >= strings:
            raise InputError(f"the name of BTF type {len(places) + 1} is no string", where)
        if kind in _REFERRING:
            highest = max(highest, value)
        places.append(position)
        position += _TYPE.size + _length(kind, info & 0xFFFF)
        if position > end:
            raise InputError(f"BTF ends inside type {len(places)}", where)
    if highest > len(places):
        raise InputError(f"BTF refers to type {highest}, but has {len(places)}", where)
    return places


def _text(strings: bytes, offset: int, where: str) -> str:
    end = strings.find(b"\0", offset) if offset < len(strings) else -1
    if end < 0:
        raise InputError(f"BTF string {offset} lies outside of the strings", where)
    return strings[offset:end].decode(errors="replace")
