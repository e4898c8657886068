"""Structure layouts as captures record them, and reading structures by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tramposim.bpf.btf import Btf, Kind
from tramposim.capture.kcore import CoreMemory
from tramposim.errors import InputError
from tramposim.kernel.structs import structs
from tramposim.spec import Arch

__all__ = ["STRUCTURES", "Layouts", "btf_layouts", "read_fields"]

Layouts = Mapping[str, Any]
"""Structure name -> {"size": bytes, "members": [{"name", "off", "bit", "bits", "size"}]};
`off` in bytes, `bit` and `bits` of bit fields from there (None: no bit field)."""

STRUCTURES = tuple(
    sorted(
        {"bpf_tramp_image", "ftrace_ops", "thread_info"}
        | {name for arch in Arch for name in structs(arch).sizes}
        | {member.partition(".")[0] for arch in Arch for member in structs(arch).offsets}
    )
)
"""Structures that replay and rebuilding rely on."""

_MAX_DEPTH = 8


def btf_layouts(btf: Btf, names: Iterable[str] = STRUCTURES) -> dict[str, Any]:
    """The layouts of structures that the kernel has, members of unnamed ones included."""
    found: dict[str, Any] = {}
    for name in names:
        numbers = btf.ids(name, Kind.STRUCT)
        if numbers:
            owner = btf.get(numbers[0])
            found[name] = {"size": owner.value, "members": _members(btf, numbers[0], 0, 0)}
    return found


def _members(btf: Btf, number: int, base: int, depth: int) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    if depth > _MAX_DEPTH:
        return listed
    for member in btf.members(btf.get(number)):
        place = base + member.offset
        kind = btf.resolved(member.type)
        if not member.name and kind is not None and kind.kind in (Kind.STRUCT, Kind.UNION):
            listed += _members(btf, btf.skip(member.type), place, depth + 1)
            continue
        listed.append(
            {
                "name": member.name,
                "off": place // 8,
                "bit": place % 8 if member.bits else None,
                "bits": member.bits or None,
                "size": _size(btf, member.type),
            }
        )
    return listed


def _size(btf: Btf, number: int) -> int:
    try:
        return btf.size(number)
    except InputError:
        return 0


def read_fields(
    memory: CoreMemory, layouts: Layouts, structure: str, address: int, names: Iterable[str]
) -> dict[str, int]:
    """Integer members of a structure at an address, those that this kernel has.

    Raises `InputError` if the structure's layout is not known or its memory cannot be read.
    """
    if structure not in layouts:
        raise InputError(f"the layout of struct {structure} is not known")
    members = {member["name"]: member for member in layouts[structure]["members"]}
    found = {}
    for name in names:
        member = members.get(name)
        if member is None:
            continue
        bits = member.get("bits")
        size = 4 if bits else member["size"]
        if not 1 <= size <= 8:
            raise InputError(f"member {structure}.{name} of {size} bytes is no integer")
        value = memory.read_int(address + member["off"], size if not bits else 2)
        if bits:
            value = value >> (member.get("bit") or 0) & (1 << bits) - 1
        found[name] = value
    return found
