"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from tramposim.spec import Arch, Entry, Returns

__all__ = [
    "STATE_NAMES",
    "arch_option",
    "core_option",
    "entry_option",
    "format_option",
    "kernel_option",
    "output_option",
    "proto_option",
    "returns_option",
    "scenario_argument_completion",
    "state_option",
]

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def _completes(words: Callable[[], Iterable[str]]) -> _Completion:
    """Shell completion among words that are looked up only when a shell asks."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in words() if word.startswith(incomplete)]

    return complete


def _cores() -> Iterable[str]:
    from tramposim.timing import core_names

    return core_names()


def _versions() -> Iterable[str]:
    from tramposim.kernel.versions import VERSIONS

    return VERSIONS


def scenario_argument_completion(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[str]:
    """Completes the last word of a scenario."""
    from tramposim.study.scenario import KINDS, MODIFIERS, UNTRACED

    before, plus, last = incomplete.rpartition("+")
    known = [*KINDS, *MODIFIERS] if plus else [*KINDS, UNTRACED]
    return [before + plus + word for word in known if word.startswith(last)]


def output_option() -> _Decorator:
    """`-o FILE`: where the result goes; standard output by default."""
    return click.option(
        "-o",
        "--output",
        "output",
        metavar="FILE",
        default="-",
        help="Write the result to FILE ('-': standard output, the default).",
    )


def format_option(*formats: str) -> _Decorator:
    """`--format NAME`: the first of `formats` is the default."""
    return click.option(
        "--format",
        "format_name",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="How to print the result.",
    )


def kernel_option() -> _Decorator:
    """`--kernel VERSION`: the version whose machine code is built."""
    return click.option(
        "--kernel",
        "version",
        metavar="VERSION",
        default="7.2",
        show_default=True,
        shell_complete=_completes(_versions),
        help="Kernel version whose images and programs are built: 6.12, 7.0, 7.1, 7.2 or 7.3.",
    )


def arch_option(*, both: bool) -> _Decorator:
    """`--arch NAME`; with `both` it may be given twice and defaults to both architectures."""
    return click.option(
        "--arch",
        "archs" if both else "arch",
        type=click.Choice([arch.value for arch in Arch]),
        multiple=both,
        default=[arch.value for arch in Arch] if both else Arch.X86_64.value,
        show_default=True,
        help="Architecture" + (" (may be given more than once)." if both else "."),
    )


def core_option(*, both: bool) -> _Decorator:
    """`--core NAME`: the core model; with `both` one may be named for each architecture."""
    return click.option(
        "--core",
        "core_names" if both else "core_name",
        multiple=both,
        metavar="NAME",
        shell_complete=_completes(_cores),
        help="Core model to time on"
        + (", one per architecture" if both else "")
        + "; 'tramposim cores' lists them.",
    )


def entry_option() -> _Decorator:
    """`--entry MODE`: how the function's patched entry reaches the image."""
    return click.option(
        "--entry",
        metavar="MODE",
        shell_complete=_completes(lambda: [entry.value for entry in Entry]),
        help="How the function's entry reaches the image: jmp or call (x86_64), ftrace or bl "
        "(arm64); by default as the kernel version enters.",
    )


def returns_option() -> _Decorator:
    """`--returns KIND`: what x86_64 mitigations turn a `ret` into."""
    return click.option(
        "--returns",
        metavar="KIND",
        shell_complete=_completes(lambda: [kind.value for kind in Returns]),
        help="x86_64 return thunks: plain (default), untrained, srso, srso-alias, its, stuffing.",
    )


def proto_option() -> _Decorator:
    """`--proto C`: the traced function as a C prototype."""
    return click.option(
        "--proto",
        metavar="C",
        help="Prototype of the traced function.  [default: int bpf_fentry_test1(int a)]",
    )


STATE_NAMES = ("hot", "cold-code", "cold-data", "cold-tlb", "cold-core", "cold", "first")
"""Starting states as `timing.states` defines them (not imported: --help stays fast)."""


def state_option(default: str) -> _Decorator:
    """`--state NAME`: what of caches, TLBs and predictors a call finds."""
    return click.option(
        "--state",
        type=click.Choice(STATE_NAMES),
        help="What a call finds: everything in the first level (hot), code, data or translations "
        "evicted to the second (cold-code, cold-data, cold-tlb; cold-core: all three), every "
        "line in memory (cold), or nothing known at all (first).  "
        f"[default: {default}]",
    )
