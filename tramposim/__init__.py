"""tramposim: cycle-level simulation of Linux BPF trampolines.

The functions behind the commands, imported when they are first used (docs/api.md).
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tramposim.bpf.asm import assemble as assemble
    from tramposim.errors import TramposimError as TramposimError
    from tramposim.kernel.declaration import parse_prototype as parse_prototype
    from tramposim.spec import Arch as Arch
    from tramposim.spec import Attachment as Attachment
    from tramposim.spec import Entry as Entry
    from tramposim.spec import Kernel as Kernel
    from tramposim.spec import Program as Program
    from tramposim.spec import Prototype as Prototype
    from tramposim.spec import Returns as Returns
    from tramposim.study.bench import bench as bench
    from tramposim.study.changes import changes_of as changes_of
    from tramposim.study.compare import compare as compare
    from tramposim.study.explain import explain as explain
    from tramposim.study.image import scenario_image as scenario_image
    from tramposim.study.load import load as load
    from tramposim.study.measure import measure as measure
    from tramposim.study.meter import meters_of as meters_of
    from tramposim.study.native import native_scenarios as native_scenarios
    from tramposim.study.own import compare_programs as compare_programs
    from tramposim.study.program import program_images as program_images
    from tramposim.study.program import read_source as read_source
    from tramposim.study.records import Records as Records
    from tramposim.study.records import decode_records as decode_records
    from tramposim.study.records import encode_records as encode_records
    from tramposim.study.replay import replay as replay
    from tramposim.study.run import run_programs as run_programs
    from tramposim.study.scenario import parse_scenario as parse_scenario
    from tramposim.study.staged import staged_calls as staged_calls
    from tramposim.study.subject import Subject as Subject
    from tramposim.study.sweep import Grid as Grid
    from tramposim.study.sweep import sweep as sweep
    from tramposim.study.timeline import timeline as timeline
    from tramposim.study.validate import validate_capture as validate_capture
    from tramposim.study.verify import verify_capture as verify_capture
    from tramposim.study.workload import read_workload as read_workload
    from tramposim.timing import load_core as load_core
    from tramposim.timing import time_trace as time_trace
    from tramposim.timing.throughput import throughput as throughput

__version__ = "0.1.0"

_HOMES = MappingProxyType(
    {
        "bpf.asm": ("assemble",),
        "errors": ("TramposimError",),
        "kernel.declaration": ("parse_prototype",),
        "spec": ("Arch", "Attachment", "Entry", "Kernel", "Program", "Prototype", "Returns"),
        "study.bench": ("bench",),
        "study.changes": ("changes_of",),
        "study.compare": ("compare",),
        "study.explain": ("explain",),
        "study.image": ("scenario_image",),
        "study.load": ("load",),
        "study.measure": ("measure",),
        "study.meter": ("meters_of",),
        "study.native": ("native_scenarios",),
        "study.own": ("compare_programs",),
        "study.program": ("program_images", "read_source"),
        "study.records": ("Records", "decode_records", "encode_records"),
        "study.replay": ("replay",),
        "study.run": ("run_programs",),
        "study.scenario": ("parse_scenario",),
        "study.staged": ("staged_calls",),
        "study.subject": ("Subject",),
        "study.sweep": ("Grid", "sweep"),
        "study.timeline": ("timeline",),
        "study.validate": ("validate_capture",),
        "study.verify": ("verify_capture",),
        "study.workload": ("read_workload",),
        "timing": ("load_core", "time_trace"),
        "timing.throughput": ("throughput",),
    }
)
"""Where each name of this package is defined."""

_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is first used (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'tramposim' has no attribute {name!r}")
    return getattr(import_module(f"tramposim.{home}"), name)


def __dir__() -> list[str]:
    """The names that this package offers."""
    return sorted(__all__)
