"""What is measured: a function on a kernel, with a scenario of programs and their body."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tramposim.errors import InputError
from tramposim.kernel.declaration import parse_prototype
from tramposim.kernel.load import TargetFunction, check_load
from tramposim.spec import Arch, Kernel, Prototype
from tramposim.study.scenario import Scenario
from tramposim.study.workload import find_workload, read_workload
from tramposim.timing import Core, load_core

__all__ = ["DEFAULT_CORES", "DEFAULT_FUNCTION", "Subject", "check_loads", "cores_of", "function_of"]

DEFAULT_FUNCTION = "int bpf_fentry_test1(int a)"
"""The kernel's own function for trampoline tests (net/bpf/test_run.c): returns a + 1."""

DEFAULT_CORES = {Arch.X86_64: "golden-cove", Arch.ARM64: "neoverse-n1"}
"""The core model that an architecture is timed on when none is named."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One cell of a comparison; `body` names what the scenario's programs do.

    Calls begin in the starting state `state`; with `cold` a cold call is timed beside.
    """

    kernel: Kernel
    prototype: Prototype
    scenario: Scenario
    body: str = "empty"
    state: str = "hot"
    cold: bool = False


def cores_of(archs: Iterable[str], names: Iterable[str] = ()) -> dict[str, Core]:
    """The core of each architecture: the one named for it, else its default.

    Raises `InputError` for an unknown core, one of another architecture, or two for one.
    """
    chosen: dict[str, Core] = {}
    for name in names:
        core = load_core(name)
        if core.arch in chosen:
            raise InputError(f"{name}: a second core for {core.arch}", "--core")
        if core.arch not in archs:
            raise InputError(f"{name} is an {core.arch} core, which is not compared", "--core")
        chosen[core.arch] = core
    return {
        arch: chosen[arch] if arch in chosen else load_core(DEFAULT_CORES[Arch(arch)])
        for arch in archs
    }


def function_of(text: str | None = None, workload: str | None = None) -> Prototype:
    """The traced function: from a C prototype, else from a workload's file, else the default.

    Raises `InputError` for either that cannot be read.
    """
    if text is not None or workload is None:
        return parse_prototype(text or DEFAULT_FUNCTION)
    return read_workload(find_workload(workload)).prototype


def check_loads(kernel: Kernel, prototype: Prototype, scenario: Scenario) -> None:
    """Whether the kernel loads the scenario's programs for this function.

    Raises `AttachError` with the verifier's words where it refuses.
    """
    function = TargetFunction.of(prototype)
    for term in scenario.terms:
        check_load(kernel, term.kind, function, term.sleepable)
