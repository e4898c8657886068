"""What holds execution up: cycles by cause, under names that users read.

In a steady state rename, which is in order, makes a call's progress in a call's cycles. Each
cycle in which it does not go on has a cause in front of it (delivery, prediction, its own
width) or behind it: a buffer is full. What the buffers are full of follows from retirement, the
other stage in order: what the instructions waited for whose retirement took cycles (a source
operand, a port, a forwarded store ...). The split into these two is that of Yasin's top-down
method ("A top-down method for performance analysis and counters architecture", ISPASS 2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tramposim._native.pipeline import CAUSES, Pipeline
from tramposim.timing.core import Core

__all__ = ["Holdups", "bottleneck_of", "causes_of", "holdups"]

_FULL = frozenset(["reorder buffer", "scheduler", "load buffer", "store buffer"])
_IN_FRONT = frozenset(["rename width", "retire width"])


class Holdups(NamedTuple):
    """A reading of `Pipeline.stalls` and `Pipeline.waits`."""

    stalls: Sequence[int]
    waits: Sequence[int]


def holdups(pipeline: Pipeline) -> Holdups:
    """What held `pipeline` up so far."""
    return Holdups(pipeline.stalls(), pipeline.waits())


def causes_of(core: Core, before: Holdups, after: Holdups, cycles: float) -> dict[str, float]:
    """`cycles` by cause, from two readings, largest first.

    Names are those of `CAUSES` and "port X" for the core's ports; what cost nothing is absent.
    """
    names = (*CAUSES, *(f"port {name}" for name in core.ports.names))
    stalls = _between(names, before.stalls, after.stalls)
    waits = _between(names, before.waits, after.waits)
    behind = {name: n for name, n in waits.items() if name not in _FULL | _IN_FRONT}
    full = sum(n for name, n in stalls.items() if name in _FULL)
    found = {name: float(n) for name, n in stalls.items() if name not in _FULL or not behind}
    for name, n in behind.items():
        if full:
            found[name] = found.get(name, 0.0) + full * n / sum(behind.values())
    total = sum(found.values())
    scale = cycles / total if total else 0.0
    return dict(
        sorted(((k, v * scale) for k, v in found.items()), key=lambda item: (-item[1], item[0]))
    )


def _between(names: Sequence[str], before: Sequence[int], after: Sequence[int]) -> dict[str, int]:
    return {name: b - a for name, a, b in zip(names, before, after, strict=True) if b > a}


def bottleneck_of(causes: Mapping[str, float]) -> str:
    """The cause of most cycles ("" if nothing took any)."""
    return max(causes, key=lambda name: causes[name]) if causes else ""
