"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tramposim.spec import Arch

__all__ = [
    "STATE_NAMES",
    "arch_option",
    "format_option",
    "kernel_option",
    "output_option",
    "state_option",
]

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


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
