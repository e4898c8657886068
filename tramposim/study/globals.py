"""Global variables of programs, set before anything runs, as loaders set them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tramposim.errors import InputError
from tramposim.spec import Map, Program, Scalar

__all__ = ["set_globals"]

_OPTION = "--set"


def set_globals(programs: Sequence[Program], words: Iterable[str]) -> tuple[Program, ...]:
    """The programs with variables set as `NAME=VALUE` says, VALUE a number or a text.

    NAME is a variable, a member (`config.pid`) or an element (`ports[3]`). Raises
    `InputError` for another form, an unknown variable, or a value that does not fit.
    """
    changed = tuple(programs)
    for word in words:
        name, separator, text = word.partition("=")
        if not separator:
            raise InputError(f"{word!r}: write NAME=VALUE", _OPTION)
        changed = _set(changed, name.strip(), text)
    return changed


def _set(programs: tuple[Program, ...], name: str, text: str) -> tuple[Program, ...]:
    maps = {declared.name: declared for program in programs for declared in program.maps}
    bare, index = _split(name)
    for declared in maps.values():
        for part in declared.value_parts if declared.max_entries == 1 else ():
            if part.name in (name, bare):
                element = index if part.name == bare and part.name != name else 0
                new = _with(declared, part, element, text)
                return tuple(_replaced(program, new) for program in programs)
    known = sorted(
        {part.name for m in maps.values() if m.max_entries == 1 for part in m.value_parts}
    )
    hint = f"there are {', '.join(known)}" if known else "the programs have none that are known"
    raise InputError(f"no global variable {name!r}; {hint}", _OPTION)


def _split(name: str) -> tuple[str, int]:
    """`ports[3]` is element 3 of `ports`."""
    match = re.fullmatch(r"(.*)\[(\d{1,9})\]", name)
    return (match[1], int(match[2])) if match else (name, 0)


def _with(declared: Map, part: Scalar, element: int, text: str) -> Map:
    if element >= part.count:
        raise InputError(f"{part.name} has {part.count} elements", _OPTION)
    value = _value(part, text)
    content = bytearray(declared.content.ljust(declared.value_size, b"\0"))
    at = part.offset + element * part.size
    content[at : at + part.size] = value
    return replace(declared, content=bytes(content))


def _value(part: Scalar, text: str) -> bytes:
    if part.text:
        value = text.encode()
        if len(value) >= part.size:
            raise InputError(f"{part.name} has room for {part.size - 1} characters", _OPTION)
        return value.ljust(part.size, b"\0")
    try:
        number = int(text, 0)
        if part.signed and number >= 0:
            # A pattern of bits in hex is as good as the negative number that it stands for.
            return number.to_bytes(part.size, "little")
        return number.to_bytes(part.size, "little", signed=number < 0)
    except (ValueError, OverflowError):
        raise InputError(
            f"{part.name}: {text!r} is no number of {part.size} bytes", _OPTION
        ) from None


def _replaced(program: Program, new: Map) -> Program:
    maps = tuple(new if declared.name == new.name else declared for declared in program.maps)
    return replace(program, maps=maps)
