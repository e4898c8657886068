"""`tramposim compare`: the question answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tramposim.cli.function import function_options
from tramposim.cli.options import (
    arch_option,
    core_option,
    entry_option,
    format_option,
    kernel_option,
    output_option,
    returns_option,
    state_option,
)

if TYPE_CHECKING:
    from tramposim.spec import Kernel, Program
    from tramposim.study.call import Argument
    from tramposim.study.records import Records

_PROGRAM_SUFFIXES = (".bpf", ".c", ".o", ".bin", ".hex")


@click.command(
    epilog="""\b
Examples:
  tramposim compare
  tramposim compare --arch x86_64 --returns its --entry call
  tramposim compare --scenario 'fsession*4' --scenario 'fentry*4+fexit*4' --body count
  tramposim compare --scenario fentry+fexit:latency-stack --scenario fsession+cookie:latency-cookie
  tramposim compare --state cold-code
  tramposim compare workloads/icmp_rcv.toml --format json -o compare.json
  tramposim compare session.bpf.c
  tramposim compare session.bpf.o --btf /sys/kernel/btf/vmlinux --cost bpf_printk=800"""
)
@click.argument("subject", required=False, metavar="[WORKLOAD|PROG]")
@arch_option(both=True)
@kernel_option()
@core_option(both=True)
@entry_option()
@returns_option()
@click.option(
    "--scenario",
    "words",
    multiple=True,
    metavar="WORDS",
    help="SCENARIO or SCENARIO:BODY to measure instead of the standard ones (may be given more "
    "than once).",
)
@click.option(
    "--body",
    metavar="NAME",
    help="What the programs of --scenario do where it does not say.  [default: empty]",
)
@function_options()
@click.option(
    "--cost",
    "costs",
    multiple=True,
    metavar="HELPER=CYCLES",
    help="Cycles that a helper without code here is stated to cost (may be given more than "
    "once); every result that used it says so.",
)
@state_option("hot, with a column of cold calls")
@format_option("table", "json", "csv", "md")
@output_option()
def compare(
    subject: str | None,
    archs: tuple[str, ...],
    version: str,
    core_names: tuple[str, ...],
    entry: str | None,
    returns: str | None,
    words: tuple[str, ...],
    body: str | None,
    proto: str | None,
    btf: Path | None,
    include: tuple[Path, ...],
    variables: tuple[str, ...],
    function: str | None,
    arguments: tuple[Argument, ...],
    ret: int | None,
    costs: tuple[str, ...],
    state: str | None,
    format_name: str,
    output: str,
) -> None:
    """What one fsession program costs versus separate fentry + fexit programs.

    Cycles per call, hot and cold, for the standard scenarios and bodies on both
    architectures; then the break-even. WORKLOAD names a file whose function is traced instead
    of bpf_fentry_test1.

    PROG is a file of your own programs (C, libbpf object, assembler text). They define the
    scenarios: each program alone, the fentry and fexit programs together, and all.
    """
    from tramposim.study.globals import set_globals
    from tramposim.study.kernels import kernel_of
    from tramposim.study.program import read_source

    if body is not None and not words:
        raise click.UsageError("--body needs --scenario")
    kernels = [kernel_of(arch, version, entry, returns) for arch in archs]
    if subject is not None and _is_program(subject):
        if words:
            raise click.UsageError("the programs of a file define the scenarios; no --scenario")
        chosen = _Function(proto, btf, function, arguments, ret)
        programs = read_source(Path(subject), btf=btf, include=include, version=version)
        programs = set_globals(programs, variables)
        records = _compare_own(Path(subject), programs, kernels, core_names, chosen, costs, state)
        _write(records, format_name, output, own=True)
        return
    for option, given in (
        ("--arg", arguments),
        ("--ret", ret is not None),
        ("--cost", costs),
        ("--include", include),
        ("--set", variables),
    ):
        if given:
            raise click.UsageError(f"{option} needs a file of programs")
    if (btf is None) != (function is None):
        raise click.UsageError("--btf and --function belong together where there are no programs")
    records = _compare_standard(
        subject, kernels, core_names, _Function(proto, btf, function), words, body, state
    )
    _write(records, format_name, output, own=False)


@dataclass(frozen=True, slots=True)
class _Function:
    """The options that say which function is traced and how it is called."""

    proto: str | None
    btf: Path | None
    name: str | None
    arguments: tuple[Argument, ...] = ()
    ret: int | None = None


def _is_program(name: str) -> bool:
    path = Path(name)
    return path.suffix in _PROGRAM_SUFFIXES or (path.is_file() and path.suffix != ".toml")


def _compare_own(
    path: Path,
    programs: Sequence[Program],
    kernels: Sequence[Kernel],
    core_names: tuple[str, ...],
    chosen: _Function,
    costs: tuple[str, ...],
    state: str | None,
) -> Records:
    from tramposim.cli.progress import progress
    from tramposim.errors import UnsupportedError
    from tramposim.spec import TRACING_KINDS
    from tramposim.study.costs import parse_costs
    from tramposim.study.own import compare_programs
    from tramposim.study.subject import cores_of
    from tramposim.study.traceable import traced_functions

    stated = parse_costs(costs)
    cores = cores_of([kernel.arch for kernel in kernels], core_names)
    for program in programs:
        if program.kind not in TRACING_KINDS:
            raise UnsupportedError(
                f"{program.name} is a {program.kind} program; compare measures programs that "
                "trace a function (fentry, fexit, fmod_ret, fsession)"
            )
    traced = traced_functions(
        programs,
        str(path),
        proto=chosen.proto,
        btf=chosen.btf,
        function=chosen.name,
        arguments=chosen.arguments,
        returns=chosen.ret,
    )
    with progress("compare") as step:
        return compare_programs(kernels, cores, traced, path.name, stated, step, state)


def _compare_standard(
    workload: str | None,
    kernels: Sequence[Kernel],
    core_names: tuple[str, ...],
    chosen: _Function,
    words: tuple[str, ...],
    body: str | None,
    state: str | None,
) -> Records:
    from tramposim.bpf.vmlinux import prototype_from_btf
    from tramposim.cli.progress import progress
    from tramposim.study.compare import GRID, compare, grid_of
    from tramposim.study.subject import cores_of, function_of

    if chosen.btf is not None and chosen.name is not None:
        prototype = prototype_from_btf(chosen.btf, chosen.name)
    else:
        prototype = function_of(chosen.proto, workload)
    cores = cores_of([kernel.arch for kernel in kernels], core_names)
    grid = grid_of(words, body) if words else GRID
    with progress("compare") as step:
        return compare(kernels, cores, prototype, grid, step, state)


def _write(records: Records, format_name: str, output: str, *, own: bool) -> None:
    from tramposim.report.compare import compare_markdown, compare_text
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.report.own import own_markdown, own_text
    from tramposim.study.records import encode_records

    write_result(
        {
            "table": lambda: (own_text if own else compare_text)(records, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: (own_markdown if own else compare_markdown)(records),
        }[format_name](),
        output,
    )
