"""Maps of captured programs: what is recorded of them, at their addresses."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tramposim.capture.records import BootRecord, CaseRecord, ProgRecord
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Map, MapType

__all__ = ["BLOCK", "MAX_PROGRAMS", "RECORDED_MAPS", "case_maps", "program_maps"]

BLOCK = 512
"""Bytes that a program has in `res`; program n's block begins at (n + 1) * BLOCK."""

MAX_PROGRAMS = 64

RECORDED_MAPS = MappingProxyType(
    {
        "res": Map("res", MapType.ARRAY, 4, BLOCK * (MAX_PROGRAMS + 1), 1),
        "h": Map("h", MapType.HASH, 8, 8, 1024),
        "pa": Map("pa", MapType.PROG_ARRAY, 4, 4, 4),
    }
)
"""Maps that records name without their definition, by name."""

_STATE = "_ms"
"""The array that recorded programs read and write."""

_TYPES = {
    1: MapType.HASH,
    2: MapType.ARRAY,
    3: MapType.PROG_ARRAY,
    4: MapType.PERF_EVENT_ARRAY,
    5: MapType.PERCPU_HASH,
    6: MapType.PERCPU_ARRAY,
    9: MapType.LRU_HASH,
    27: MapType.RINGBUF,
}
"""enum bpf_map_type of the types that programs may use here."""


def case_maps(case: CaseRecord, where: str) -> tuple[tuple[Map, int], ...]:
    """The maps of a case with their addresses, those whose definition is known.

    A record of a map has `n` (name), `addr`, and may have `type` (number), `key_size`,
    `value_size`, `max_entries`. Raises `InputError` for a malformed one.
    """
    found = []
    for record in case.maps:
        if not isinstance(record, dict) or record.get("errno"):
            continue
        name, address = record.get("n"), record.get("addr")
        if not isinstance(name, str) or not isinstance(address, int) or not 0 < address < 1 << 64:
            raise InputError(f"{case.id}: a map without name or address", where)
        declared = _declared(name, record) or RECORDED_MAPS.get(name)
        if declared is not None:
            found.append((declared, address))
    return tuple(found)


def program_maps(program: ProgRecord, boot: BootRecord, where: str) -> tuple[tuple[Map, int], ...]:
    """The maps that a `prog` record refers to, by the boot's definitions and addresses.

    The array `_ms` has the contents with which programs were run. Raises `UnsupportedError`
    for a map whose definition is not recorded or not known, `InputError` for a malformed one.
    """
    found = []
    for name in dict.fromkeys(name for _, _, name in program.relocs):
        place, defined = boot.maps.get(name), boot.map_defs.get(name)
        if not isinstance(place, dict) or not isinstance(defined, dict):
            raise UnsupportedError(f"map {name!r}: its definition is not recorded")
        record = {
            "type": defined.get("type"),
            "key_size": defined.get("key"),
            "value_size": defined.get("value"),
            "max_entries": defined.get("max"),
        }
        address, declared = place.get("addr"), _declared(name, record)
        if not isinstance(address, int) or not 0 < address < 1 << 64:
            raise InputError(f"{program.id}: map {name!r} has no address", where)
        if declared is None:
            raise UnsupportedError(f"map {name!r} of type {defined.get('type')!r}")
        if name == _STATE and declared.type is MapType.ARRAY:
            size = declared.value_size * declared.max_entries
            declared = replace(declared, content=bytes((i * 37 + 11) & 255 for i in range(size)))
        found.append((declared, address))
    return tuple(found)


def _declared(name: str, record: dict[str, Any]) -> Map | None:
    kind = _TYPES.get(record.get("type", -1))
    sizes = [record.get(field) for field in ("key_size", "value_size", "max_entries")]
    if kind is None or not all(isinstance(size, int) and 0 <= size < 1 << 31 for size in sizes):
        return None
    key, value, entries = (int(size) for size in sizes if isinstance(size, int))
    return Map(name, kind, key, value, entries)
