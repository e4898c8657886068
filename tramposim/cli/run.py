"""`tramposim run`: execute BPF programs for what they compute."""

from __future__ import annotations

from pathlib import Path

import click

from tramposim.cli.options import format_option, output_option

__all__ = ["run"]


def number(text: str) -> int:
    """A 64-bit number, decimal or 0x hexadecimal."""
    value = int(text, 0)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(text)
    return value


@click.command(
    epilog="""\b
Examples:
  tramposim run session.bpf
  tramposim run session.bpf --proto 'int f(int a, long b)' --arg 5 --arg 0x10 --ret -2
  tramposim run filter.bpf --memory 0011aabb --format json"""
)
@click.argument("prog", metavar="PROG", type=Path)
@click.option(
    "--proto",
    metavar="C",
    help="Prototype of the traced function.  [default: int bpf_fentry_test1(int a)]",
)
@click.option(
    "--arg", "arguments", multiple=True, type=number, help="An argument slot's value, in order."
)
@click.option("--ret", type=number, default="0", help="What the traced function returns.")
@click.option("--memory", metavar="HEX", default="", help="Input of a program that traces nothing.")
@click.option("--calls", type=int, default=1, show_default=True, help="How often to call.")
@click.option(
    "--budget",
    type=click.IntRange(1, 1 << 40),
    default=1_000_000,
    show_default=True,
    help="Instructions that one execution may take.",
)
@format_option("text", "json")
@output_option()
def run(
    prog: Path,
    proto: str | None,
    arguments: tuple[int, ...],
    ret: int,
    memory: str,
    calls: int,
    budget: int,
    format_name: str,
    output: str,
) -> None:
    """Execute BPF programs with the reference interpreter.

    Programs that trace a function run as if attached to it from left to right: the last
    attached first, at entry, then at exit. Prints what each returned, what it printed, and
    the maps.
    """
    from tramposim.report.output import write_result
    from tramposim.report.run import run_json, run_text
    from tramposim.study.program import read_source
    from tramposim.study.run import run_programs
    from tramposim.study.subject import function_of

    try:
        content = bytes.fromhex(memory)
    except ValueError:
        raise click.BadParameter("not hex", param_hint="'--memory'") from None
    result = run_programs(
        read_source(prog), function_of(proto), arguments, ret, content, calls, budget
    )
    write_result(run_json(result) if format_name == "json" else run_text(result), output)
