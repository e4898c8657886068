"""A core with one of its numbers changed, to see what hangs on it."""

from __future__ import annotations

from msgspec import structs

from tramposim.timing.core import Choice, Core
from tramposim.timing.corechecks import check_core

__all__ = ["CLASSES", "Changed", "numbers_of", "with_value"]

CLASSES = "classes"
"""The group of the classes' latencies, beside those of `Core.parameters`."""

Changed = int | bool | str


def numbers_of(core: Core) -> list[tuple[str, str, Changed, str, str]]:
    """Every number as (group, name, value, source, confidence), latencies of classes last.

    Classes without a latency of their own (loads have the first level's) are left out.
    """
    found: list[tuple[str, str, Changed, str, str]] = [
        (group, name, parameter.value, parameter.source, parameter.confidence)
        for group, name, parameter in core.parameters()
    ]
    found += [
        (CLASSES, name, data.latency, data.source, data.confidence)
        for name, data in core.classes.items()
        if data.latency
    ]
    return found


def with_value(core: Core, group: str, name: str, value: Changed) -> Core:
    """The core with another value of one number of `numbers_of`.

    A class that keeps its port as long as its result takes goes on doing so. Raises `InputError`
    if no core can be like that.
    """
    if group == CLASSES:
        data = core.classes[name]
        busy = int(value) if data.occupancy == data.latency else data.occupancy
        other = structs.replace(data, latency=int(value), occupancy=busy)
        changed = structs.replace(core, classes={**core.classes, name: other})
    elif group == "pools":
        pool = core.pools[name]
        entries = structs.replace(pool.entries, value=int(value))
        pools = {**core.pools, name: structs.replace(pool, entries=entries)}
        changed = structs.replace(core, pools=pools)
    else:
        fields = getattr(core, group)
        parameter = getattr(fields, name)
        number = value if isinstance(parameter, Choice) else type(parameter.value)(value)
        parameter = structs.replace(parameter, value=number)
        changed = structs.replace(core, **{group: structs.replace(fields, **{name: parameter})})
    check_core(changed)
    return changed
