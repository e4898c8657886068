"""What the types of a core description cannot express: references, ranges, shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tramposim.errors import InputError

if TYPE_CHECKING:
    from tramposim.timing.core import Core

__all__ = ["MOST_UNROLLED", "check_core"]

MOST_UNROLLED = 4
"""Sizes of loops that a loop buffer holds more than once, `UNROLLINGS` of `_native/uarch.pxd`."""

_LARGEST = {"l3_kib": 1 << 20}
"""Largest sensible value of a parameter, 65536 for the others."""


def check_core(core: Core) -> None:
    """Cross-checks that types cannot express; raises `InputError` naming the field."""
    for section, name, parameter in core.parameters():
        if parameter.source not in core.sources:
            raise InputError(f"{section}.{name}: unknown source {parameter.source!r}")
        if isinstance(parameter.value, str):
            continue
        if not 0 <= int(parameter.value) <= _LARGEST.get(name, 65536):
            raise InputError(f"{section}.{name}: {parameter.value} is out of range")
    _check_shapes(core)
    _check_loop_buffer(core)
    if not 1 <= len(core.ports.names) <= 16 or not 1 <= len(core.pools) <= 8:
        raise InputError("a core has 1 to 16 ports and 1 to 8 pools")
    pooled = 0
    for name, pool in core.pools.items():
        mask = core.port_mask(pool.ports)
        if not 1 <= int(pool.entries.value) <= 250:
            raise InputError(f"pools.{name}: 1 to 250 entries")
        if pooled & mask:
            raise InputError(f"pools.{name}: a port belongs to two pools")
        pooled |= mask
    for name, data in core.classes.items():
        if data.source not in core.sources:
            raise InputError(f"classes.{name}: unknown source {data.source!r}")
        if not core.port_mask(data.ports) & pooled or (data.uops > 1 and not data.extra):
            raise InputError(f"classes.{name}: ports of a pool are needed for every uop")
        if not (0 <= data.latency <= 2000 and 1 <= data.uops <= 100 and 1 <= data.occupancy <= 200):
            raise InputError(f"classes.{name}: latency, uops or occupancy out of range")


def _check_loop_buffer(core: Core) -> None:
    """Whether a loop buffer holds what it is said to hold."""
    unrolled = core.loop_buffer.unrolled
    if len(unrolled) > MOST_UNROLLED:
        raise InputError(f"loop_buffer: at most {MOST_UNROLLED} sizes of unrolled loops")
    for one in unrolled:
        if not 2 <= one.copies <= 64 or one.copies * one.uops > int(core.loop_buffer.uops.value):
            raise InputError(f"loop_buffer: {one.copies} copies of {one.uops} uops do not fit")


def _check_shapes(core: Core) -> None:
    """Whether caches and TLBs are made of whole sets."""
    shapes = [
        ("caches", "code_l1_kib", "code_l1_ways", 16),
        ("caches", "data_l1_kib", "data_l1_ways", 16),
        ("caches", "l2_kib", "l2_ways", 16),
        ("caches", "l3_kib", "l3_ways", 16),
        ("caches", "uop_cache_entries", "uop_cache_ways", 1),
        *(
            ("tlbs", f"{name}_entries", f"{name}_ways", 1)
            for name in (
                "itlb_small",
                "itlb_large",
                "dtlb_small",
                "dtlb_large",
                "dtlb_huge",
                "stlb",
                "stlb_huge",
            )
        ),
    ]
    for section, size, ways, unit in shapes:
        group = getattr(core, section)
        entries, across = getattr(group, size).value * unit, getattr(group, ways).value
        if entries and (not across or entries % across):
            raise InputError(f"{section}.{size}: {entries} entries are no sets of {across} ways")
