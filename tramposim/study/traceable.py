"""Which function programs trace, and what its prototype is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tramposim.bpf.vmlinux import prototype_from_btf
from tramposim.errors import InputError, TramposimError
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.testrun import TEST_FUNCTIONS
from tramposim.spec import Program, Prototype
from tramposim.study.subject import DEFAULT_FUNCTION
from tramposim.study.workload import known_workloads, read_workload

__all__ = ["known_prototype", "programs_by_function", "programs_for"]


def programs_for(
    programs: Sequence[Program],
    where: str,
    *,
    proto: str | None = None,
    btf: Path | None = None,
    function: str | None = None,
) -> tuple[tuple[Program, ...], Prototype]:
    """The programs that trace one function, with the function's prototype.

    The function is the one of `proto` (a C prototype), else `function`, else the one that all
    sections name; programs whose sections name none trace it too. The prototype comes from
    `proto`, else from the BTF file, else from what is known here: the kernel's own test
    functions and those of the workloads. Raises `InputError` that says what to give.
    """
    targets = tuple(dict.fromkeys(program.target for program in programs if program.target))
    prototype = parse_prototype(proto, "--proto") if proto else None
    name = prototype.name if prototype else function
    if prototype and function and prototype.name != function:
        raise InputError(f"{function}, but --proto declares {prototype.name}", "--function")
    if name is None:
        if len(targets) > 1:
            raise InputError(
                f"its programs trace {', '.join(targets)}; choose one with --function", where
            )
        name = targets[0] if targets else parse_prototype(DEFAULT_FUNCTION).name
    chosen = tuple(program for program in programs if program.target in ("", name))
    if not chosen:
        raise InputError(f"no program traces {name}; there are {', '.join(targets)}", where)
    if prototype is None:
        prototype = prototype_from_btf(btf, name) if btf else known_prototype(name)
    return chosen, prototype


def programs_by_function(
    programs: Sequence[Program],
    where: str,
    *,
    proto: str | None = None,
    btf: Path | None = None,
    function: str | None = None,
) -> tuple[tuple[tuple[Program, ...], Prototype], ...]:
    """The same for every function that sections name, unless one is chosen."""
    targets = tuple(dict.fromkeys(program.target for program in programs if program.target))
    if proto or function or len(targets) < 2:
        return (programs_for(programs, where, proto=proto, btf=btf, function=function),)
    return tuple(programs_for(programs, where, btf=btf, function=target) for target in targets)


def known_prototype(name: str) -> Prototype:
    """The prototype of a test function of the kernel or of a workload's function.

    Raises `InputError` for any other.
    """
    if name in TEST_FUNCTIONS:
        return TEST_FUNCTIONS[name][0]
    for path in known_workloads().values():
        try:
            prototype = read_workload(path).prototype
        except TramposimError:
            continue
        if prototype.name == name:
            return prototype
    raise InputError(
        f"the prototype of {name} is not known; give it with --proto 'int {name}(...)', or with "
        "--btf and the kernel's BTF file (/sys/kernel/btf/vmlinux)"
    )
