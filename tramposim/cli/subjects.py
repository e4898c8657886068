"""Scenarios on the command line: with bodies that are known here, or of a file of programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tramposim.cli.function import FunctionChoice, choice_options
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
    from tramposim.spec import Kernel
    from tramposim.study.measure import ExecutedCalls

__all__ = [
    "Scenarios",
    "is_program",
    "scenario_options",
]

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_PROGRAM_SUFFIXES = (".bpf", ".c", ".o", ".bin", ".hex")


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
        programs = self.chosen.tracing_programs(Path(path), self.version)
        functions = self.chosen.traced(programs, Path(path))
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
