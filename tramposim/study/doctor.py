"""Self-test of an installation: every part used once, each finding one line."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from tramposim import __version__
from tramposim.bpf.compile import compile_c, compiler_command
from tramposim.errors import TramposimError, UnsupportedError
from tramposim.kernel.declaration import parse_prototype
from tramposim.spec import Arch
from tramposim.study.kernels import kernel_of
from tramposim.study.measure import measure
from tramposim.study.records import Records, Value
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_CORES, DEFAULT_FUNCTION, Subject
from tramposim.timing import load_core

__all__ = ["Finding", "doctor_records", "examine"]

_LIBRARIES = ("unicorn", "capstone", "simpy", "numpy", "pyelftools", "msgspec", "click", "rich")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str


def examine() -> Iterator[Finding]:
    """Look at everything in turn; never raises for what is wrong with the installation."""
    yield Finding(
        "tramposim",
        True,
        f"{__version__} on Python {platform.python_version()}, {platform.machine()}",
    )
    for name in _LIBRARIES:
        yield _attempt(f"library {name}", partial(metadata.version, name))
    yield _compiler()
    for arch in Arch:
        yield _attempt(f"traced call on {arch}", partial(_traced_call, arch))


def doctor_records(findings: Iterable[Finding]) -> Records:
    """A row per finding."""
    rows: list[Mapping[str, Value]] = [
        {"what": finding.what, "passed": finding.ok, "detail": finding.detail}
        for finding in findings
    ]
    passed = sum(row["passed"] is True for row in rows)
    meta = {
        "command": "doctor",
        "version": __version__,
        "passed": passed,
        "failed": len(rows) - passed,
    }
    return Records(meta, tuple(rows))


def _attempt(what: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, work())
    except (TramposimError, ImportError, OSError) as error:
        return Finding(what, False, f"{type(error).__name__}: {error}")


def _compiler() -> Finding:
    """What compiles C programs; tramposim does its other work without."""
    what = "compiler of C programs"
    try:
        command = compiler_command()
    except UnsupportedError as missing:
        return Finding(what, True, f"none: {missing}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "doctor.bpf.c"
        source.write_text('#include "bpf_all.h"\n')
        return _attempt(what, lambda: f"{command[0]}, {len(compile_c(source))} bytes of object")


def _traced_call(arch: Arch) -> str:
    subject = Subject(
        kernel_of(arch, "7.2"), parse_prototype(DEFAULT_FUNCTION), parse_scenario("fsession")
    )
    core = DEFAULT_CORES[arch]
    found = measure(subject, load_core(core))
    return f"fsession executed and timed, {found.cycles_per_call:.1f} cycles on {core}"
