"""Typed TOML whose every complaint is one line: file and line, key, what to do."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import inspect

from tramposim.errors import InputError

__all__ = ["decode_toml", "read_text", "toml_place"]

_T = TypeVar("_T", bound=msgspec.Struct)


def read_text(path: Path, what: str) -> str:
    """The text of a file; raises `InputError` that calls the file a `what`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read the {what}: {error.strerror}", str(path)) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text (byte {error.start}); a {what} is a TOML file", str(path)
        ) from error


def decode_toml(text: str, kind: type[_T], where: str) -> _T:
    """The TOML text as a value of the struct type `kind`.

    Raises `InputError` with the place `where:line`, the dotted key and a remedy for malformed
    TOML, unknown and missing keys and values of a wrong type.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = _split_position(str(error), text)
        raise InputError(f"malformed TOML: {message}", f"{where}:{line}") from error
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        key, message = _explain(str(error), kind)
        raise InputError(f"{key}: {message}", toml_place(where, text, key)) from error


def toml_place(where: str, text: str, key: str) -> str:
    """`where:line` of a dotted key, or of what holds it, in TOML text; `where` if not found."""
    lines = text.splitlines()
    while key:
        line = _line_of(lines, key)
        if line:
            return f"{where}:{line}"
        key = key.rpartition(".")[0]
    return where


def _line_of(lines: list[str], key: str) -> int | None:
    """Line (from 1) on which a dotted key is set, or its table begins; the last part of the key
    may be the `name` of one of several tables."""
    table, _, name = key.rpartition(".")
    section = ""
    for number, line in enumerate(lines, 1):
        header = re.match(r"\s*\[\[?\s*([\w.-]+)\s*\]\]?", line)
        if header:
            section = header[1]
            if section == key:
                return number
        elif section == table and re.match(
            rf"\s*(['\"]?{re.escape(name)}['\"]?\s*=|name\s*=\s*['\"]{re.escape(name)}['\"])", line
        ):
            return number
    return None


def _split_position(message: str, text: str) -> tuple[str, int]:
    """tomllib's message without its position, and the line."""
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    if found:
        short = message[: found.start()].strip()
        return f"{short} at column {found[2]}", int(found[1])
    short = message.replace("(at end of document)", "").strip()
    return f"{short} at the end of the file", max(1, len(text.splitlines()))


def _explain(message: str, kind: type[msgspec.Struct]) -> tuple[str, str]:
    """msgspec's message as (dotted key, sentence with a remedy)."""
    what, _, place = message.partition(" - at ")
    path = re.search(r"\$([^`]*)", place)
    key = re.sub(r"\[[^\]]*\]", "", path[1] if path else "").removeprefix(".")
    unknown = re.search(r"unknown field `([^`]*)`", what)
    missing = re.search(r"missing required field `([^`]*)`", what)
    if unknown:
        known = sorted(set(_keys(inspect.type_info(kind), key.split(".") if key else [])))
        near = difflib.get_close_matches(unknown[1], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"{key}.{unknown[1]}" if key else unknown[1], f"no such key; {hint}"
    if missing:
        return f"{key}.{missing[1]}" if key else missing[1], "this key is required"
    sentence = f"{what[0].lower()}{what[1:]}"
    allowed = dict.fromkeys(_allowed(inspect.type_info(kind), key.split(".")))
    if what.startswith("Invalid") and allowed:
        sentence += f"; known are {', '.join(allowed)}"
    return key or "file", sentence


def _keys(kind: inspect.Type, path: list[str]) -> Iterator[str]:
    """Keys that a table at `path` may have."""
    for struct in _structs(kind):
        if not path:
            yield from (field.encode_name for field in struct.fields)
            if struct.tag_field is not None:
                yield struct.tag_field
        for field in struct.fields:
            if path and field.encode_name == path[0]:
                yield from _keys(field.type, path[1:])


def _allowed(kind: inspect.Type, path: list[str]) -> Iterator[str]:
    """Values that are allowed at `path`, where they are a list of words."""
    if not path:
        if isinstance(kind, inspect.EnumType):
            yield from (str(member.value) for member in kind.cls)
        elif isinstance(kind, inspect.LiteralType):
            yield from map(str, kind.values)
        elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
            yield from _allowed(kind.item_type, path)
        elif isinstance(kind, inspect.DictType):
            yield from _allowed(kind.key_type, path)
        return
    for struct in _structs(kind):
        if struct.tag_field == path[0]:
            yield str(struct.tag)
        for field in struct.fields:
            if field.encode_name == path[0]:
                yield from _allowed(field.type, path[1:])


def _structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    if isinstance(kind, inspect.StructType):
        yield kind
    elif isinstance(kind, inspect.UnionType):
        for option in kind.types:
            yield from _structs(option)
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
        yield from _structs(kind.item_type)
