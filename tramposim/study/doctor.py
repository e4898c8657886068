"""Self-test of an installation: every part used once, each finding one line."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata

from tramposim import __version__
from tramposim.errors import TramposimError
from tramposim.kernel.declaration import parse_prototype
from tramposim.spec import Arch
from tramposim.study.kernels import kernel_of
from tramposim.study.measure import measure
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_CORES, DEFAULT_FUNCTION, Subject
from tramposim.timing import load_core

__all__ = ["Finding", "examine"]

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
    for arch in Arch:
        yield _attempt(f"traced call on {arch}", partial(_traced_call, arch))


def _attempt(what: str, work: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, work())
    except (TramposimError, ImportError, OSError) as error:
        return Finding(what, False, f"{type(error).__name__}: {error}")


def _traced_call(arch: Arch) -> str:
    subject = Subject(
        kernel_of(arch, "7.2"), parse_prototype(DEFAULT_FUNCTION), parse_scenario("fsession")
    )
    core = DEFAULT_CORES[arch]
    found = measure(subject, load_core(core))
    return f"fsession executed and timed, {found.cycles_per_call:.1f} cycles on {core}"
