"""What calls are of: the functions that a user's programs trace, and how they are called.

`compare`, `explain`, `timeline` and `load` take scenarios with bodies that are known here, or a
file of programs. The options that say which function is traced reach them in one value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tramposim.cli.function import function_options
from tramposim.cli.options import (
    arch_option,
    core_option,
    entry_option,
    kernel_option,
    returns_option,
    scenario_argument_completion,
    state_option,
)

if TYPE_CHECKING:
    from tramposim.spec import Kernel, Program, Prototype
    from tramposim.study.call import Argument
    from tramposim.study.engines import Traced
    from tramposim.study.measure import ExecutedCalls

__all__ = [
    "FunctionChoice",
    "Scenarios",
    "choice_options",
    "is_program",
    "own_functions",
    "own_programs",
    "scenario_options",
]

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_PROGRAM_SUFFIXES = (".bpf", ".c", ".o", ".bin", ".hex")


@dataclass(frozen=True, slots=True)
class FunctionChoice:
    """The traced function, how it is called, and what reading programs needs."""

    proto: str | None = None
    btf: Path | None = None
    include: tuple[Path, ...] = ()
    variables: tuple[str, ...] = ()
    name: str | None = None
    arguments: tuple[Argument, ...] = ()
    ret: int | None = None
    costs: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """The options that were given."""
        named = {"--proto": self.proto, "--btf": self.btf, "--function": self.name}
        return *self.for_programs, *(option for option, value in named.items() if value)

    @property
    def for_programs(self) -> tuple[str, ...]:
        """The given options that only files of programs use."""
        options = {
            "--arg": bool(self.arguments),
            "--ret": self.ret is not None,
            "--cost": bool(self.costs),
            "--include": bool(self.include),
            "--set": bool(self.variables),
        }
        return tuple(option for option, given in options.items() if given)

    def known_function(self, workload: str | None = None) -> Prototype:
        """The function that scenarios with bodies known here trace.

        Raises `UsageError` for options that only programs use, `InputError` for what cannot
        be read.
        """
        from tramposim.bpf.vmlinux import prototype_from_btf
        from tramposim.study.subject import function_of

        for option in self.for_programs:
            raise click.UsageError(f"{option} needs a file of programs")
        if (self.btf is None) != (self.name is None):
            raise click.UsageError(
                "--btf and --function belong together where there are no programs"
            )
        if self.btf is not None and self.name is not None:
            return prototype_from_btf(self.btf, self.name)
        return function_of(self.proto, workload)


def choice_options() -> _Decorator:
    """`--proto` to `--ret` and `--cost`, given to the command as `chosen`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def bundled(
            *,
            proto: str | None,
            btf: Path | None,
            include: tuple[Path, ...],
            variables: tuple[str, ...],
            function: str | None,
            arguments: tuple[Argument, ...],
            ret: int | None,
            costs: tuple[str, ...],
            **others: Any,
        ) -> Any:
            chosen = FunctionChoice(proto, btf, include, variables, function, arguments, ret, costs)
            return command(chosen=chosen, **others)

        cost = click.option(
            "--cost",
            "costs",
            multiple=True,
            metavar="HELPER=CYCLES",
            help="Cycles that a helper without code here is stated to cost (may be given more "
            "than once); every result that used it says so.",
        )
        return function_options()(cost(bundled))

    return decorate


def scenario_options(*, both: bool) -> _Decorator:
    """The arguments and options of commands about single scenarios, in the order of --help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        argument = click.argument(
            "words",
            metavar="SCENARIO[:BODY]... | PROG [NAME[+NAME]...]...",
            nargs=-1,
            required=True,
            shell_complete=scenario_argument_completion,
        )
        options = (
            argument,
            arch_option(both=both),
            kernel_option(),
            core_option(both=both),
            entry_option(),
            returns_option(),
            choice_options(),
            state_option("hot"),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def is_program(name: str) -> bool:
    """Whether an argument names a file of programs."""
    path = Path(name)
    return path.suffix in _PROGRAM_SUFFIXES or (path.is_file() and path.suffix != ".toml")


def own_programs(path: Path, chosen: FunctionChoice, version: str) -> tuple[Program, ...]:
    """The programs of a file for a kernel version, which all trace a function.

    Raises `UnsupportedError` for programs that trace none, and what reading raises.
    """
    from tramposim.errors import UnsupportedError
    from tramposim.spec import TRACING_KINDS
    from tramposim.study.globals import set_globals
    from tramposim.study.program import read_source

    programs = read_source(path, btf=chosen.btf, include=chosen.include, version=version)
    programs = set_globals(programs, chosen.variables)
    for program in programs:
        if program.kind not in TRACING_KINDS:
            raise UnsupportedError(
                f"{program.name} is a {program.kind} program; measured are programs that "
                "trace a function (fentry, fexit, fmod_ret, fsession)"
            )
    return programs


def own_functions(
    path: Path, chosen: FunctionChoice, programs: Sequence[Program]
) -> tuple[Traced, ...]:
    """The functions that a file's programs trace; raises `InputError` that says what to give."""
    from tramposim.study.traceable import traced_functions

    return traced_functions(
        programs,
        str(path),
        proto=chosen.proto,
        btf=chosen.btf,
        function=chosen.name,
        arguments=chosen.arguments,
        returns=chosen.ret,
    )


@dataclass(frozen=True, slots=True)
class Scenarios:
    """The scenarios that a command line names, to be executed on any kernel."""

    words: tuple[str, ...]
    chosen: FunctionChoice
    version: str
    state: str
    most: int

    def executed(self, kernel: Kernel) -> Iterator[ExecutedCalls]:
        """Calls of each scenario; at most `most` of them. Raises what executing raises."""
        if is_program(self.words[0]):
            yield from self._own(kernel)
            return
        from tramposim.study.measure import execute
        from tramposim.study.scenario import parse_scenario
        from tramposim.study.subject import Subject

        self._check(self.words)
        prototype = self.chosen.known_function()
        for text in self.words:
            words, _, body = text.partition(":")
            scenario = parse_scenario(words)
            yield execute(Subject(kernel, prototype, scenario, body or "empty", self.state))

    def _own(self, kernel: Kernel) -> Iterator[ExecutedCalls]:
        from tramposim.errors import InputError
        from tramposim.study.costs import parse_costs
        from tramposim.study.own import chosen_groups, execute_group

        path, *names = self.words
        programs = own_programs(Path(path), self.chosen, self.version)
        functions = own_functions(Path(path), self.chosen, programs)
        if len(functions) > 1:
            traced = ", ".join(one.name for one in functions)
            raise InputError(f"its programs trace {traced}; choose one with --function", path)
        groups = chosen_groups(functions[0].programs, names, path)
        self._check(groups)
        costs = parse_costs(self.chosen.costs)
        for group in groups:
            yield execute_group(kernel, functions[0], group, costs, self.state)

    def _check(self, scenarios: Sequence[object]) -> None:
        if len(scenarios) > self.most:
            raise click.UsageError(
                "one scenario, or two to compare" if self.most == 2 else f"at most {self.most}"
            )
