"""Maps that an object declares in its section `.maps`, by BTF, and those of its global data.

A declaration is a variable of a struct type whose members carry numbers as array lengths and
types as pointers (libbpf's `__uint`, `__type`, `__ulong`). Global data are arrays of one value
that holds the section; names of their maps are libbpf's (internal_map_name).
"""

from __future__ import annotations

import re
from dataclasses import replace

from tramposim.bpf.btf import ENUMS, Btf, BtfType, Kind
from tramposim.bpf.elf import NOBITS, PROGBITS, ElfFile, Section
from tramposim.bpf.parts import scalars_of, variables_of
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Map, MapFlag, MapType, Scalar

__all__ = ["data_maps", "data_section_kind", "declared_maps", "internal_map_name"]

MAPS_SECTION = ".maps"
_TYPE_NAMES_TEXT = """
unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array
lru_hash lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash
cgroup_storage reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash
struct_ops ringbuf inode_storage task_storage bloom_filter user_ringbuf cgrp_storage arena
insn_array
"""
_TYPE_NAMES = tuple(_TYPE_NAMES_TEXT.split())
"""enum bpf_map_type."""
_NUMBERS = ("type", "max_entries", "map_flags", "numa_node", "key_size", "value_size", "pinning")
_PAGE = 4096
_MAX_NAME = 15
"""Characters of a map's name (BPF_OBJ_NAME_LEN without the final zero)."""
_NO_KEY = (MapType.RINGBUF, MapType.QUEUE, MapType.STACK)


def declared_maps(elf: ElfFile, btf: Btf | None) -> dict[int, Map]:
    """Maps of the section `.maps`, by the offset of their variable in it.

    Raises `InputError` for a malformed declaration, `UnsupportedError` for a map type or
    property that is not simulated.
    """
    section = elf.section(MAPS_SECTION)
    if section is None:
        if elf.section("maps") is not None:
            raise UnsupportedError(
                f"{elf.where}: section maps: declarations without BTF; declare maps in .maps"
            )
        return {}
    if btf is None:
        raise InputError("section .maps needs BTF; compile with -g", elf.where)
    found: dict[int, Map] = {}
    for number in btf.ids(MAPS_SECTION, Kind.DATASEC):
        for variable in btf.variables(btf.get(number)):
            name = btf.get(variable.type).name
            where = f"{elf.where}: map {name}"
            symbols = [s for s in elf.symbols if s.name == name and s.section == section.index]
            if not symbols:
                raise InputError("no such symbol in section .maps", where)
            found[symbols[0].value] = _declared(btf, btf.get(variable.type), where)
    return found


def _declared(btf: Btf, variable: BtfType, where: str) -> Map:
    if variable.kind != Kind.VAR:
        raise InputError("BTF says that it is no variable", where)
    declaration = btf.resolved(variable.value)
    if declaration is None or declaration.kind != Kind.STRUCT:
        raise InputError("its declaration is no struct", where)
    values: dict[str, int] = {}
    parts: dict[str, tuple[Scalar, ...]] = {}
    for member in btf.members(declaration):
        if member.name in _NUMBERS:
            values[member.name] = _number(btf, member.type, f"{where}: {member.name}")
        elif member.name in ("key", "value"):
            pointer = btf.resolved(member.type)
            if pointer is None or pointer.kind != Kind.PTR:
                raise InputError(f"{member.name} is no pointer; write __type()", where)
            size = btf.size(pointer.value)
            parts[member.name] = scalars_of(btf, pointer.value)
            if values.setdefault(f"{member.name}_size", size) != size:
                raise InputError(
                    f"{member.name}_size is {values[f'{member.name}_size']}, but the type of "
                    f"{member.name} has {size} bytes",
                    where,
                )
        elif member.name in ("values", "map_extra"):
            raise UnsupportedError(f"{where}: property {member.name}")
        else:
            raise InputError(f"unknown property {member.name!r}", where)
    checked = _checked(variable.name, values, where)
    return replace(checked, key_parts=parts.get("key", ()), value_parts=parts.get("value", ()))


def _checked(name: str, values: dict[str, int], where: str) -> Map:
    number = values.get("type", 0)
    if not 0 < number < len(_TYPE_NAMES):
        raise InputError(f"type {number} is no map type", where)
    if _TYPE_NAMES[number] not in set(MapType):
        known = ", ".join(MapType)
        raise UnsupportedError(f"{where}: maps of type {_TYPE_NAMES[number]}; known are {known}")
    kind = MapType(_TYPE_NAMES[number])
    entries = values.get("max_entries", 0)
    if kind is MapType.RINGBUF:
        entries = _ring_size(entries)
    elif kind is MapType.PERF_EVENT_ARRAY:
        entries = entries or 1
    if not 0 < entries < 1 << 31:
        raise InputError(f"max_entries is {entries}; give at least 1", where)
    key, value = values.get("key_size", 0), values.get("value_size", 0)
    keyed = kind not in _NO_KEY
    valued = kind is not MapType.RINGBUF
    if (keyed and not 0 < key < 1 << 31) or (valued and not 0 < value < 1 << 31):
        raise InputError(f"keys of {key} and values of {value} bytes", where)
    flags = values.get("map_flags", 0)
    unknown = flags & ~sum(MapFlag)
    if unknown:
        raise UnsupportedError(f"{where}: map_flags {unknown:#x}")
    return Map(name, kind, key, value, entries, flags=flags)


def _ring_size(size: int) -> int:
    """Bytes of a ring buffer: libbpf makes them a power of two of pages."""
    pages = max(1, (size + _PAGE - 1) // _PAGE)
    return _PAGE << (pages - 1).bit_length() if size else 0


def _number(btf: Btf, number: int, where: str) -> int:
    """The number that `__uint` (length of an array) or `__ulong` (an enumerator) encodes."""
    found = btf.resolved(number)
    if found is not None and found.kind == Kind.PTR:
        array = btf.resolved(found.value)
        if array is not None and array.kind == Kind.ARRAY:
            return btf.array(array)[1]
    if found is not None and found.kind in ENUMS:
        constants = list(btf.enumerators(found))
        if len(constants) == 1:
            return constants[0].value
    raise InputError("is no number; write __uint()", where)


def data_section_kind(section: Section) -> str:
    """`data`, `rodata` or `bss` if the section holds global variables, else nothing."""
    for kind in ("data", "rodata", "bss"):
        named = section.name == f".{kind}" or section.name.startswith(f".{kind}.")
        if named and section.type == (NOBITS if kind == "bss" else PROGBITS):
            return kind
    return ""


def data_maps(elf: ElfFile, stem: str, btf: Btf | None = None) -> dict[int, Map]:
    """A map for each section of global variables, by the section's index.

    `stem` is the object's name, with which names of such maps begin; `btf` names the variables.
    """
    found = {}
    for section in elf.sections:
        kind = data_section_kind(section)
        if not kind or section.size == 0:
            continue
        flags = MapFlag.MMAPABLE | (MapFlag.RDONLY_PROG if kind == "rodata" else 0)
        name = internal_map_name(stem, section.name)
        content = section.data if any(section.data) else b""
        found[section.index] = Map(
            name,
            MapType.ARRAY,
            4,
            section.size,
            1,
            content=content,
            flags=flags,
            value_parts=variables_of(btf, elf, section),
        )
    return found


def internal_map_name(stem: str, section: str) -> str:
    """Name of the map for a section of global data."""
    if "." in section[1:]:
        return re.sub(r"[^\w.]", "_", section)
    tail = max(7, len(section))
    head = min(_MAX_NAME - tail, len(stem))
    return re.sub(r"[^\w.]", "_", stem[:head] + section)
