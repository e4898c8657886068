"""Which functions programs trace, and what their prototypes are."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tramposim.bpf.vmlinux import prototype_from_btf
from tramposim.errors import InputError, TramposimError
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.testrun import TEST_FUNCTIONS
from tramposim.spec import Program, Prototype
from tramposim.study.call import Argument, function_call
from tramposim.study.engines import Traced
from tramposim.study.subject import DEFAULT_FUNCTION
from tramposim.study.workload import known_workloads, read_workload

__all__ = ["known_prototype", "traced_functions"]


def traced_functions(
    programs: Sequence[Program],
    where: str,
    *,
    proto: str | None = None,
    btf: Path | None = None,
    function: str | None = None,
    arguments: Sequence[Argument] = (),
    returns: int | None = None,
) -> tuple[Traced, ...]:
    """The functions that programs trace, in the order of their first program.

    Programs whose sections name no function trace the one of `proto` (a C prototype), else
    `function`, else the only one that other sections name, else the default. `proto` or
    `function` choose one of several. A pattern (`fsession.multi/bpf_fentry_test*`) stands for
    the functions that are known here, in their order. Prototypes come from `proto`, else from
    the BTF file, else from what is known here: the kernel's own test functions and those of
    the workloads.
    `arguments` and `returns` say how a single function is called. Raises `InputError` that
    says what to give.
    """
    prototype = parse_prototype(proto, "--proto") if proto else None
    if prototype and function and prototype.name != function:
        raise InputError(f"{function}, but --proto declares {prototype.name}", "--function")
    chosen = prototype.name if prototype else function
    targets = tuple(dict.fromkeys(program.target for program in programs if program.target))
    names = (chosen,) if chosen else _names(targets) or (parse_prototype(DEFAULT_FUNCTION).name,)
    unnamed = any(not program.target for program in programs)
    if len(names) > 1:
        choose = f"its programs trace {', '.join(names)}; choose one with --function"
        if unnamed:
            raise InputError(f"{choose}: some sections name none", where)
        if arguments or returns is not None:
            raise InputError(f"--arg and --ret are for one function, but {choose}", where)
    found = []
    for name in names:
        traced = tuple(program for program in programs if _traces(program, name))
        if not traced:
            there = ", ".join(targets)
            raise InputError(
                f"no program traces {name}; they trace {there}: choose with --function", where
            )
        known = prototype or (prototype_from_btf(btf, name) if btf else known_prototype(name))
        found.append(Traced(function_call(known, arguments, returns), traced))
    return tuple(found)


def _traces(program: Program, name: str) -> bool:
    target = program.target
    return target in ("", name) or (_is_pattern(target) and fnmatchcase(name, target))


def _is_pattern(target: str) -> bool:
    return any(character in target for character in "*?[")


def _names(targets: Sequence[str]) -> tuple[str, ...]:
    """The functions that targets stand for; a pattern that fits none stays as it is."""
    found: dict[str, None] = {}
    for target in targets:
        fitting = fnmatch.filter(_known(), target) if _is_pattern(target) else []
        found |= dict.fromkeys(fitting or [target])
    return tuple(found)


def _known() -> Mapping[str, Prototype]:
    """Every function whose prototype is known here: the kernel's test functions first."""
    known = {name: prototype for name, (prototype, _) in TEST_FUNCTIONS.items()}
    for path in known_workloads().values():
        try:
            prototype = read_workload(path).prototype
        except TramposimError:
            continue
        known.setdefault(prototype.name, prototype)
    return known


def known_prototype(name: str) -> Prototype:
    """The prototype of a test function of the kernel or of a workload's function.

    Raises `InputError` for any other.
    """
    known = _known()
    if name in known:
        return known[name]
    if _is_pattern(name):
        raise InputError(f"no known function is called {name}; choose one with --function", name)
    raise InputError(
        f"the prototype of {name} is not known; give it with --proto 'int {name}(...)', or with "
        "--btf and the kernel's BTF file (/sys/kernel/btf/vmlinux)"
    )
