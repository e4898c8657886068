"""`tramposim compare`: the question answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tramposim.cli.function import FunctionChoice, choice_options
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
from tramposim.cli.subjects import is_program

if TYPE_CHECKING:
    from tramposim.spec import Kernel
    from tramposim.study.records import Records

__all__ = ["compare"]


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
@choice_options()
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
    chosen: FunctionChoice,
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
    from tramposim.study.kernels import kernel_of

    if body is not None and not words:
        raise click.UsageError("--body needs --scenario")
    kernels = [kernel_of(arch, version, entry, returns) for arch in archs]
    own = subject is not None and is_program(subject)
    if subject is not None and own:
        if words:
            raise click.UsageError("the programs of a file define the scenarios; no --scenario")
        records = _compare_own(Path(subject), kernels, core_names, chosen, version, state)
    else:
        records = _compare_standard(subject, kernels, core_names, chosen, words, body, state)
    _write(records, format_name, output, own=own)


def _compare_own(
    path: Path,
    kernels: Sequence[Kernel],
    core_names: tuple[str, ...],
    chosen: FunctionChoice,
    version: str,
    state: str | None,
) -> Records:
    from tramposim.cli.progress import progress
    from tramposim.study.costs import parse_costs
    from tramposim.study.own import compare_programs
    from tramposim.study.subject import cores_of

    traced = chosen.traced(chosen.tracing_programs(path, version), path)
    stated = parse_costs(chosen.costs)
    cores = cores_of([kernel.arch for kernel in kernels], core_names)
    with progress("compare") as step:
        return compare_programs(kernels, cores, traced, path.name, stated, step, state)


def _compare_standard(
    workload: str | None,
    kernels: Sequence[Kernel],
    core_names: tuple[str, ...],
    chosen: FunctionChoice,
    words: tuple[str, ...],
    body: str | None,
    state: str | None,
) -> Records:
    from tramposim.cli.progress import progress
    from tramposim.study.compare import GRID, compare, grid_of
    from tramposim.study.subject import cores_of

    prototype = chosen.known_function(workload)
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
