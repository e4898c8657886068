"""What keys, values and global variables are made of, by BTF: for showing them to people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tramposim.bpf.btf import COMPOSITES, ENUMS, Btf, Kind
from tramposim.bpf.elf import ElfFile, Section
from tramposim.errors import TramposimError
from tramposim.spec import Scalar

__all__ = ["MAX_SCALARS", "scalars_of", "variables_of"]

MAX_SCALARS = 256
"""Most parts of one type that are told apart; a type with more is shown as bytes."""
_MAX_DEPTH = 16


def scalars_of(btf: Btf, number: int) -> tuple[Scalar, ...]:
    """The parts of a type; none for one that has too many or that BTF describes wrongly."""
    return _bounded(_scalars(btf, number, "", 0, 0))


def variables_of(btf: Btf | None, elf: ElfFile, section: Section) -> tuple[Scalar, ...]:
    """The parts of the global variables in a section of data, in order of their places."""
    return _bounded(_variables(btf, elf, section)) if btf is not None else ()


def _bounded(found: Iterator[Scalar]) -> tuple[Scalar, ...]:
    try:
        scalars = tuple(islice(found, MAX_SCALARS + 1))
    except TramposimError:
        return ()
    ordered = sorted(scalars, key=lambda scalar: scalar.offset)
    return tuple(ordered) if len(scalars) <= MAX_SCALARS else ()


def _variables(btf: Btf, elf: ElfFile, section: Section) -> Iterator[Scalar]:
    places = {
        symbol.name: symbol.value for symbol in elf.symbols if symbol.section == section.index
    }
    for number in btf.ids(section.name, Kind.DATASEC):
        for variable in btf.variables(btf.get(number)):
            declared = btf.get(variable.type)
            if declared.name in places:
                yield from _scalars(btf, declared.value, declared.name, places[declared.name], 0)


def _scalars(btf: Btf, number: int, name: str, offset: int, depth: int) -> Iterator[Scalar]:
    """Parts of a type at a byte offset; a union's are those of its first member."""
    found = btf.resolved(number)
    if found is None or depth > _MAX_DEPTH:
        return
    if found.kind == Kind.INT:
        yield Scalar(name, offset, found.value, signed=btf.integer(found)[1])
    elif found.kind == Kind.PTR:
        yield Scalar(name, offset, 8, hexadecimal=True)
    elif found.kind in ENUMS:
        yield Scalar(name, offset, found.value, signed=found.flag)
    elif found.kind == Kind.ARRAY:
        yield from _array(btf, number, name, offset, depth)
    elif found.kind in COMPOSITES:
        prefix = f"{name}." if name else ""
        for member in btf.members(found):
            if not member.bits:
                at = offset + member.offset // 8
                yield from _scalars(btf, member.type, prefix + member.name, at, depth + 1)
            if found.kind == Kind.UNION:
                return


def _array(btf: Btf, number: int, name: str, offset: int, depth: int) -> Iterator[Scalar]:
    array = btf.resolved(number)
    assert array is not None
    element, count = btf.array(array)
    inner = btf.resolved(element)
    if inner is None:
        return
    if inner.kind == Kind.INT and inner.name == "char":
        yield Scalar(name, offset, count, text=True)
    elif inner.kind in (Kind.INT, Kind.PTR, *ENUMS):
        for scalar in _scalars(btf, element, name, offset, depth + 1):
            yield Scalar(name, offset, scalar.size, count, scalar.signed, scalar.hexadecimal)
    else:
        size = btf.size(element)
        for index in range(min(count, MAX_SCALARS + 1)):
            place = offset + index * size
            yield from _scalars(btf, element, f"{name}[{index}]", place, depth + 1)
