"""Where the guest runtime's functions and variables lie.

A function lies where the caller says; otherwise where the captured kernel has it, moved by
the same distance as the symbols that the caller gave (address randomisation), provided that
they agree on one; otherwise, or if it does not fit before its neighbour, in free space
behind. Variables likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tramposim.kernel.structs import Structs
from tramposim.machine.elf import ElfObject

__all__ = ["OWN_DATA", "OWN_PERCPU", "Placement", "percpu_size", "place"]

OWN_DATA: Mapping[str, int] = {
    "arch_timer_read_counter": 8,
    "guest_boot_offset": 8,
    "guest_tai_offset": 8,
}
"""Variables of the runtime that the captured records do not place: bytes of each."""

OWN_PERCPU: Mapping[str, int] = {
    "numa_node": 4,
    "irqsave_flags": 8,
    "bpf_trace_nest_level": 4,
    "bpf_bprintf_nest_level": 4,
    "bpf_bprintf_bufs": 3 * (512 + 1024),
    "guest_trace_ring": 8,
}
"""Per-CPU variables that the captured records do not place: bytes of each. They lie behind the
kernel's own, each at a multiple of 64."""

_PAGE = 0x1000
_ROOM = 16
"""Bytes kept free before a function (the padding that kernels put there)."""

_STUB = 8
_GAP = 1 << 16


@dataclass(frozen=True, slots=True)
class Placement:
    """`sections`: section index -> address; `symbols`: name -> address of everything;
    `stubs`: function -> (address that was asked for, address that it got)."""

    sections: Mapping[int, int]
    symbols: Mapping[str, int]
    stubs: Mapping[str, tuple[int, int]]


def percpu_size(structs: Structs) -> int:
    """Bytes of per-CPU variables, the kernel's and ours."""
    return structs.percpu_size + sum(_line(size) for size in OWN_PERCPU.values())


def _line(size: int) -> int:
    return (size + 63) & -64


def _base(known: Mapping[str, int], addresses: Mapping[str, int]) -> int | None:
    """The one distance by which `addresses` lie from `known`, None if there is not one."""
    distances = {addresses[name] - offset for name, offset in known.items() if name in addresses}
    return distances.pop() if len(distances) == 1 else None


def _wanted(
    elf: ElfObject, known: Mapping[str, int], base: int | None, addresses: Mapping[str, int]
) -> dict[int, int]:
    """Section -> address for all sections that have a symbol with a known place."""
    wanted: dict[int, int] = {}
    for exact in (True, False):
        for symbol in elf.symbols:
            section = symbol.section
            if section is None or section in wanted or not elf.sections[section].executable:
                continue
            if exact and symbol.name in addresses:
                wanted[section] = addresses[symbol.name] - symbol.value
            elif not exact and base is not None and symbol.name in known:
                wanted[section] = base + known[symbol.name] - symbol.value
    return wanted


def place(elf: ElfObject, structs: Structs, addresses: Mapping[str, int]) -> Placement:
    """Places everything that `elf` defines or refers to."""
    text = {name: offset for name, (offset, _) in structs.text.items()}
    fixed = {"_stext": 0, **structs.data, **text}
    base = _base(fixed, addresses) if any(n in fixed for n in addresses) else structs.stext
    wanted = _wanted(elf, text, base, addresses)
    code = [i for i, s in enumerate(elf.sections) if s.executable and s.size]
    sections: dict[int, int] = {}
    moved: dict[int, int] = {}
    order = sorted(
        (address, index) for index, address in wanted.items() if elf.sections[index].size
    )
    for number, (address, index) in enumerate(order):
        room = order[number + 1][0] - address if number + 1 < len(order) else 1 << 32
        if elf.sections[index].size <= room:
            sections[index] = address
        else:
            moved[index] = address
    used = [a + elf.sections[i].size for i, a in sections.items()] or [structs.stext]
    free = (max([*used, *moved.values()]) + _GAP) & -_PAGE
    for index in code:
        if index not in sections:
            align = max(elf.sections[index].align, _ROOM)
            free = (free + _ROOM + align - 1) & -align
            sections[index] = free
            free += elf.sections[index].size

    symbols: dict[str, int] = {}
    stubs: dict[str, tuple[int, int]] = {}
    for symbol in elf.symbols:
        if symbol.section in sections and symbol.name and not symbol.name.startswith("."):
            assert symbol.section is not None
            symbols[symbol.name] = sections[symbol.section] + symbol.value
            if symbol.section in moved and symbol.name in addresses:
                stubs[symbol.name] = (addresses[symbol.name], symbols[symbol.name])
    _variables(symbols, structs, base, addresses, (free + _GAP) & -_PAGE)
    symbols |= addresses
    return Placement(sections, symbols, stubs)


def _variables(
    symbols: dict[str, int],
    structs: Structs,
    base: int | None,
    addresses: Mapping[str, int],
    free: int,
) -> None:
    """Adds the addresses of global and per-CPU variables to `symbols`."""
    if base is None:
        base = _base(structs.data, addresses)
    if base is None:
        base = structs.stext
    for name, offset in structs.data.items():
        symbols[name] = addresses.get(name, base + offset)
    start = addresses.get("__per_cpu_start", _base(structs.percpu, addresses))
    if start is None:
        start = base + structs.percpu_start
    symbols["__per_cpu_start"] = start
    for name, offset in structs.percpu.items():
        symbols[name] = addresses.get(name, start + offset)
    offset = structs.percpu_size
    for name, size in OWN_PERCPU.items():
        symbols[name] = start + offset
        offset += _line(size)
    for name, size in OWN_DATA.items():
        symbols[name] = addresses.get(name, free)
        free += _line(size)
