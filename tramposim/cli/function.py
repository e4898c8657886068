"""The function that a user's programs trace, and how it is called: options, and what they say."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tramposim.spec import Program, Prototype
    from tramposim.study.call import Argument
    from tramposim.study.engines import Traced

__all__ = ["FunctionChoice", "choice_options"]

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def number(text: str) -> int:
    """A 64-bit number, decimal or 0x hexadecimal; `ValueError` for any other text."""
    value = int(text, 0)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(text)
    return value


def argument(text: str) -> Argument:
    """A slot's value: a number, or mem:HEX for the address of memory that begins with HEX."""
    if not text.startswith("mem:"):
        return number(text)
    from tramposim.study.call import pointed_memory

    try:
        return pointed_memory(bytes.fromhex(text[4:]))
    except ValueError:
        raise click.BadParameter(f"{text}: what follows mem: is not hex") from None


_OPTIONS = (
    click.option(
        "--proto",
        metavar="C",
        help="Prototype of the traced function.  [default: of the function that the programs' "
        "sections name, else int bpf_fentry_test1(int a)]",
    ),
    click.option(
        "--btf",
        metavar="FILE",
        type=Path,
        help="A kernel's BTF, such as /sys/kernel/btf/vmlinux: for the prototype, and for CO-RE "
        "relocations.",
    ),
    click.option(
        "--include",
        "-I",
        multiple=True,
        type=Path,
        metavar="DIR",
        help="Look for headers of C programs here too.",
    ),
    click.option(
        "--set",
        "variables",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a global variable before anything runs (may be given more than once).",
    ),
    click.option("--function", metavar="NAME", help="Only programs that trace this function."),
    click.option(
        "--arg",
        "arguments",
        multiple=True,
        type=argument,
        metavar="VALUE",
        help="An argument slot's value, in order: a number, or mem:HEX for the address of memory "
        "that begins with these bytes.",
    ),
    click.option("--ret", type=number, metavar="VALUE", help="What the traced function returns."),
)
_COST = click.option(
    "--cost",
    "costs",
    multiple=True,
    metavar="HELPER=CYCLES",
    help="Cycles that a helper without code here is stated to cost (may be given more "
    "than once); every result that used it says so.",
)


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

    def programs(self, path: Path, version: str) -> tuple[Program, ...]:
        """The programs of a file for a kernel version; raises what reading raises."""
        from tramposim.study.globals import set_globals
        from tramposim.study.program import read_source

        programs = read_source(path, btf=self.btf, include=self.include, version=version)
        return set_globals(programs, self.variables)

    def tracing_programs(self, path: Path, version: str) -> tuple[Program, ...]:
        """The same, if all of them trace a function; else raises `UnsupportedError`."""
        from tramposim.errors import UnsupportedError
        from tramposim.spec import TRACING_KINDS

        programs = self.programs(path, version)
        for program in programs:
            if program.kind not in TRACING_KINDS:
                raise UnsupportedError(
                    f"{program.name} is a {program.kind} program; measured are programs that "
                    "trace a function (fentry, fexit, fmod_ret, fsession)"
                )
        return programs

    def traced(self, programs: Sequence[Program], path: Path) -> tuple[Traced, ...]:
        """The functions that a file's programs trace.

        Raises `InputError` that says which option is missing.
        """
        from tramposim.study.traceable import traced_functions

        return traced_functions(
            programs,
            str(path),
            proto=self.proto,
            btf=self.btf,
            function=self.name,
            arguments=self.arguments,
            returns=self.ret,
        )


def choice_options(*, costs: bool = True) -> _Decorator:
    """`--proto` to `--ret`, and `--cost` unless not wanted, given to the command as `chosen`."""

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
            costs: tuple[str, ...] = (),
            **others: Any,
        ) -> Any:
            chosen = FunctionChoice(proto, btf, include, variables, function, arguments, ret, costs)
            return command(chosen=chosen, **others)

        wrapped: Callable[..., Any] = bundled
        for option in reversed((*_OPTIONS, *((_COST,) if costs else ()))):
            wrapped = option(wrapped)
        return wrapped

    return decorate
