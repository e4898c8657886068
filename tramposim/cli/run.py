"""`tramposim run`: execute BPF programs for what they compute."""

from __future__ import annotations

from pathlib import Path

import click

from tramposim.cli.function import FunctionChoice, choice_options
from tramposim.cli.options import format_option, kernel_option, output_option

__all__ = ["run"]


@click.command(
    epilog="""\b
Examples:
  tramposim run session.bpf.c
  tramposim run session.bpf.c --engine all --calls 100
  tramposim run session.bpf --proto 'int f(int a, long b)' --arg 5 --arg 0x10 --ret -2
  tramposim run latency.bpf.c --set target_pid=1000 --set 'name=vfs'
  tramposim run icmp.bpf.o --btf /sys/kernel/btf/vmlinux --arg mem:45000054
  tramposim run add.data --engine all
  tramposim run filter.bpf --memory 0011aabb --format json"""
)
@click.argument("prog", metavar="PROG", type=Path)
@click.option(
    "--engine",
    type=click.Choice(("interp", "x86_64", "arm64", "all")),
    default="interp",
    show_default=True,
    help="The reference interpreter, or the JIT's code in an emulated kernel; all: every one, "
    "and they must agree.",
)
@choice_options(costs=False)
@click.option("--memory", metavar="HEX", default="", help="Input of a program that traces nothing.")
@click.option("--calls", type=int, default=1, show_default=True, help="How often to call.")
@click.option(
    "--budget",
    type=click.IntRange(1, 1 << 40),
    default=1_000_000,
    show_default=True,
    help="Instructions that one execution may take: of eBPF on the interpreter, of the machine "
    "elsewhere.",
)
@kernel_option()
@format_option("text", "json")
@output_option()
def run(
    prog: Path,
    engine: str,
    chosen: FunctionChoice,
    memory: str,
    calls: int,
    budget: int,
    version: str,
    format_name: str,
    output: str,
) -> int:
    """Execute BPF programs: C, libbpf object, assembler text, or a conformance test (.data).

    Programs that trace a function run as if attached to it from left to right: the last
    attached first, at entry, then at exit. Prints what each returned, what it printed, and
    the maps. With --engine all a difference between the engines is a finding (exit code 1).
    """
    if prog.suffix == ".data":
        return _conformance(prog, engine, budget, version, format_name, output)
    from tramposim.report.output import write_result
    from tramposim.report.run import run_json, run_text
    from tramposim.spec import TRACING_KINDS
    from tramposim.study.run import ENGINES, run_programs

    if prog.suffix == ".toml":
        raise click.UsageError(f"{prog} is a workload; run takes a file of programs")
    try:
        content = bytes.fromhex(memory)
    except ValueError:
        raise click.BadParameter("not hex", param_hint="'--memory'") from None
    programs = chosen.programs(prog, version)
    tracing = [program for program in programs if program.kind in TRACING_KINDS]
    traced = chosen.traced(tracing, prog) if tracing else ()
    result = run_programs(
        traced,
        [program for program in programs if program.kind not in TRACING_KINDS],
        ENGINES if engine == "all" else (engine,),
        memory=content,
        calls=calls,
        budget=budget,
        kernel=version,
    )
    write_result(run_json(result) if format_name == "json" else run_text(result), output)
    return 1 if result.differences else 0


def _conformance(
    path: Path, engine: str, budget: int, version: str, format_name: str, output: str
) -> int:
    """Run a conformance test file; 1 if it fails on any engine."""
    from tramposim.report.conformance import conformance_json, conformance_text
    from tramposim.report.output import write_result
    from tramposim.study.conformance import read_conformance, run_conformance
    from tramposim.study.run import ENGINES

    test = read_conformance(path)
    engines = ENGINES if engine == "all" else (engine,)
    results = run_conformance(test, engines, budget, version)
    show = conformance_json if format_name == "json" else conformance_text
    write_result(show(test, results), output)
    return 0 if all(result.passed for result in results) else 1
