"""Core models as records: every parameter and instruction class with its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tramposim import __version__
from tramposim.study.records import Records, Value
from tramposim.timing import Core

__all__ = ["core_records"]


def core_records(cores: Iterable[Core]) -> Records:
    """Rows by `what`: the `core` itself, its `parameter`s and its `class`es of instructions."""
    return Records(
        meta={"command": "cores", "version": __version__, "basis": "the core files' numbers"},
        rows=tuple(row for core in cores for row in _rows(core)),
    )


def _rows(core: Core) -> Iterator[Mapping[str, Value]]:
    head: dict[str, Value] = {"core": core.name, "arch": core.arch.value}
    yield {
        **head,
        "what": "core",
        "title": core.title,
        "clock_ghz": core.clock_ghz,
        "core_error": core.error,
    }
    for group, name, parameter in core.parameters():
        yield {
            **head,
            "what": "parameter",
            "group": group,
            "name": name,
            "value": parameter.value,
            "confidence": parameter.confidence,
            "source": core.sources.get(parameter.source, parameter.source),
        }
    for name, data in core.classes.items():
        yield {
            **head,
            "what": "class",
            "name": name,
            "latency_cycles": data.latency,
            "uops": data.uops,
            "busy_cycles": data.occupancy,
            "ports": str(data.ports),
            "confidence": data.confidence,
            "source": core.sources.get(data.source, data.source),
        }
