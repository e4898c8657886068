"""Options of commands that call a traced function with a user's programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tramposim.study.call import Argument

__all__ = ["function_options"]

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


def function_options() -> _Decorator:
    """The traced function and its call: `--proto` to `--ret`, and where C finds its headers."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(_OPTIONS):
            command = option(command)
        return command

    return decorate
