"""The API reference as Markdown, from signatures and docstrings of what `tramposim` offers."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from enum import Enum
from types import FunctionType

import tramposim

_SHOWN_DEFAULT = 24
"""Longest default value that a signature shows."""


def reference_page() -> str:
    """The whole page: what `import tramposim` gives, then the types that it takes and returns."""
    named = {name: getattr(tramposim, name) for name in tramposim.__all__ if name[0] != "_"}
    types = _types_of(named.values())
    blocks = [
        "# API reference",
        "Generated from docstrings; regenerate with `python results/regenerate.py`. "
        "[api.md](api.md) shows the same by examples.",
        "## Functions",
        *(_function(name, thing) for name, thing in _sorted(named) if not inspect.isclass(thing)),
        "## Classes",
        *(_class(name, thing) for name, thing in _sorted(named) if inspect.isclass(thing)),
        "## Types that these take and return",
        "They are imported from the module that is named.",
        *(_class(f"{thing.__module__}.{thing.__qualname__}", thing) for thing in types),
    ]
    return "\n\n".join(blocks) + "\n"


def _sorted(named: dict[str, typing.Any]) -> list[tuple[str, typing.Any]]:
    return sorted(named.items(), key=lambda item: item[0].lower())


def _types_of(things: typing.Iterable[typing.Any]) -> list[type]:
    """Classes of the package that signatures of `things` mention, and those that these hold."""
    known = {thing for thing in things if inspect.isclass(thing)}
    direct = {kind for thing in things for kind in _mentioned(thing)}
    found = direct | {held for kind in direct for held in _mentioned(kind)}
    return sorted(found - known, key=lambda kind: (kind.__module__, kind.__qualname__))


def _mentioned(thing: typing.Any) -> Iterator[type]:
    try:
        hints = typing.get_type_hints(thing)
    except (NameError, TypeError):
        return
    if inspect.isclass(thing) and not dataclasses.is_dataclass(thing):
        return
    waiting = list(hints.values())
    while waiting:
        hint = waiting.pop()
        waiting += typing.get_args(hint)
        if inspect.isclass(hint) and hint.__module__.startswith("tramposim."):
            yield hint


def _function(name: str, function: FunctionType) -> str:
    code = f"```python\n{_signature(name, function)}\n```"
    return f"### `{name}`\n\n`{function.__module__}`\n\n{code}\n\n{_doc(function)}"


def _class(name: str, kind: type) -> str:
    short = kind.__name__
    parts = [f"### `{name}`"]
    if "." not in name:
        parts.append(f"`{kind.__module__}`")
    parts.append(_doc(kind))
    if issubclass(kind, Enum):
        parts.append("Members: " + ", ".join(f"`{each.name}` (`{each.value!r}`)" for each in kind))
        return "\n\n".join(parts)
    if dataclasses.is_dataclass(kind):
        parts.append("\n".join(f"- {line}" for line in _fields(kind)))
    parts += [_method(short, each, member) for each, member in _members(kind)]
    return "\n\n".join(part for part in parts if part)


def _fields(kind: typing.Any) -> Iterator[str]:
    for field in dataclasses.fields(kind):
        default = "" if field.default is dataclasses.MISSING else _default(field.default)
        yield f"`{field.name}: {field.type}{f' = {default}' if default else ''}`"


def _members(kind: type) -> Iterator[tuple[str, typing.Any]]:
    """Public methods and properties with docstrings, as the class defines them."""
    for name, member in vars(kind).items():
        member = getattr(member, "__func__", member)
        if name[0] != "_" and isinstance(member, FunctionType | property) and member.__doc__:
            yield name, member


def _method(owner: str, name: str, member: typing.Any) -> str:
    if isinstance(member, property):
        returns = typing.cast(typing.Any, member.fget).__annotations__.get("return", "")
        return f"**`{owner}.{name}: {returns}`**: {_doc(member)}"
    return f"**`{owner}.{_signature(name, member)}`**: {_doc(member)}"


def _signature(name: str, function: FunctionType) -> str:
    signature = inspect.signature(function)
    words = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            words.append("*")
            star = True
        text = parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        words.append(text)
    line = f"{name}({', '.join(words)}) -> {signature.return_annotation}"
    if len(line) <= 96:
        return line
    return f"{name}(\n    " + ",\n    ".join(words) + f",\n) -> {signature.return_annotation}"


def _default(value: object) -> str:
    text = str(value) if isinstance(value, Enum) else repr(value)
    text = re.sub(r"^mappingproxy\((.*)\)$", r"\1", text)
    return "..." if callable(value) or len(text) > _SHOWN_DEFAULT or " at 0x" in text else text


def _doc(thing: object) -> str:
    """The docstring with its paragraphs, each on a line of its own."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(thing.__doc__ or ""))
    return "\n\n".join(
        paragraph if paragraph.startswith(("- ", "    ", "|")) else " ".join(paragraph.split("\n"))
        for paragraph in paragraphs
    )
