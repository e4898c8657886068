"""`tramposim load`: what tracing costs at a call rate."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tramposim.cli.function import FunctionChoice, choice_options
from tramposim.cli.options import format_option, output_option
from tramposim.spec import Arch

if TYPE_CHECKING:
    from tramposim.study.load_trace import LoadTrace
    from tramposim.study.own import OwnPrograms
    from tramposim.study.records import Records
    from tramposim.study.workload_schema import Workload

_log = logging.getLogger(__name__)


@click.command(
    epilog="""\b
Examples:
  tramposim load workloads/icmp_rcv.toml
  tramposim load icmp_rcv --rate 1M --cpus 8 --arch x86_64
  tramposim load icmp_rcv --curve --scenario fentry+fexit --scenario fsession
  tramposim load icmp_rcv --curve --plot curve.svg --trace first-calls.json
  tramposim load icmp_rcv --functions 1 --functions 100 --functions 10000 --arch x86_64
  tramposim load vfs_read --scenario fentry+fexit --scenario fsession --runs 10
  tramposim load bench --format json -o bench.json
  tramposim load vfs_read --program latency.bpf.c
  tramposim load icmp_rcv --program session.bpf.c --scenario trace_entry+trace_exit --curve"""
)
@click.argument("workload", required=False)
@click.option("--list", "listed", is_flag=True, help="List the workloads known by name, and stop.")
@click.option(
    "--rate",
    "rates",
    multiple=True,
    metavar="RATE",
    help="Calls per second, as 50k or 1.5M/s; repeated, each rate in turn.",
)
@click.option(
    "--curve",
    is_flag=True,
    help="Cost over the call rate, from 1 call per second and CPU until the CPUs saturate, and "
    "where fsession begins to win.",
)
@click.option(
    "--functions",
    type=click.IntRange(1, 100_000),
    multiple=True,
    metavar="N",
    help="Trace N functions, called by Zipf's law; repeated, each number in turn.",
)
@click.option("--cpus", type=click.IntRange(1, 8192), metavar="N", help="CPUs of the machine.")
@click.option("--duration", metavar="TIME", help="Simulated time, as 10ms or 2s.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Seed of random arrivals.")
@click.option(
    "--runs",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    metavar="N",
    help="Repeat with the following seeds and print confidence intervals.",
)
@click.option(
    "--scenario",
    "scenarios",
    multiple=True,
    metavar="WORDS",
    help="SCENARIO or SCENARIO:BODY, instead of the workload's; with --program NAME[+NAME]... of "
    "programs that are attached together, or untraced; may be repeated.",
)
@click.option("--body", metavar="NAME", help="What programs do where a scenario does not say.")
@click.option(
    "--program",
    "program",
    type=Path,
    metavar="PROG",
    help="Attach your own programs instead (C, libbpf object, assembler text): each alone, the "
    "fentry and fexit programs together, and all.",
)
@choice_options()
@click.option(
    "--arch",
    "archs",
    type=click.Choice([arch.value for arch in Arch]),
    multiple=True,
    help="Architecture, instead of the workload's; may be repeated.",
)
@click.option("--core", "cores", multiple=True, metavar="NAME", help="Core model; see 'cores'.")
@click.option("--kernel", metavar="VERSION", help="Kernel version whose code is built.")
@click.option("--entry", metavar="MODE", help="jmp or call (x86_64), ftrace or bl (arm64).")
@click.option("--returns", metavar="KIND", help="x86_64 return thunks: plain, its, srso, ...")
@click.option(
    "--plot",
    metavar="FILE",
    help="Draw the cost over the call rate with its crossovers, as SVG; with --curve or --rate.",
)
@click.option(
    "--trace",
    metavar="FILE",
    help="Write what CPUs and tasks did at the beginning of each scenario's first run, as JSON "
    "for ui.perfetto.dev.",
)
@format_option("table", "json", "csv", "md")
@output_option()
def load(
    workload: str | None,
    listed: bool,
    rates: tuple[str, ...],
    curve: bool,
    functions: tuple[int, ...],
    cpus: int | None,
    duration: str | None,
    seed: int | None,
    runs: int,
    scenarios: tuple[str, ...],
    body: str | None,
    program: Path | None,
    chosen: FunctionChoice,
    archs: tuple[str, ...],
    cores: tuple[str, ...],
    kernel: str | None,
    entry: str | None,
    returns: str | None,
    plot: str | None,
    trace: str | None,
    format_name: str,
    output: str,
) -> int:
    """What tracing costs at a call rate: CPU share and latency under each scenario.

    WORKLOAD is a file or the name of one in ./workloads or among the installed ones; options
    replace what it says.

    With --program the scenarios are those of `compare PROG`. The programs trace the workload's
    function; --function or --proto name another one to be called at its rate.
    """
    from tramposim.report.curve import curve_markdown, curve_text
    from tramposim.report.export import records_csv
    from tramposim.report.load import load_markdown, load_text
    from tramposim.report.output import write_result
    from tramposim.study.records import encode_records
    from tramposim.study.workload import (
        Changes,
        change_workload,
        cores_by_arch,
        curve_workloads,
        find_workload,
        read_workload,
    )

    if listed:
        write_result(_listing(), output)
        return 0
    if workload is None:
        raise click.UsageError("name a WORKLOAD; --list shows those known by name")
    if program is None:
        for option in chosen.given:
            raise click.UsageError(f"{option} needs --program")
    elif body is not None:
        raise click.UsageError("what your own programs do is no --body")
    changes = Changes(
        cpus=cpus,
        duration=duration,
        seed=seed,
        scenarios=() if program else scenarios,
        body=body,
        archs=tuple(dict.fromkeys(map(Arch, archs))),
        cores=cores_by_arch(cores),
        kernel=kernel,
        entry=entry,
        returns=returns,
    )
    changed = change_workload(read_workload(find_workload(workload)), changes)
    own = _own(program, chosen, changed, scenarios) if program else None
    if [plot, trace, output].count("-") > 1:
        raise click.UsageError("only one of --plot, --trace and the result can go to '-'")
    if plot and len(functions) > 1:
        raise click.UsageError("--plot is of one number of --functions")
    if curve and rates:
        raise click.UsageError("--curve chooses the rates: no --rate")
    if curve and len(functions) > 1:
        raise click.UsageError("--curve is of one number of --functions")
    variants = [change_workload(changed, Changes(rate=rate)) for rate in rates] or [changed]
    if curve:
        variants = curve_workloads(changed)
    variants = [
        change_workload(variant, Changes(functions=count))
        for variant in variants
        for count in functions or (None,)
    ]
    traces: list[LoadTrace] | None = [] if trace else None
    if plot and not curve and len(rates) < 2:
        raise click.UsageError(
            "--plot draws over the call rate: it needs --curve or several --rate"
        )
    records = _simulate(variants, own, runs, traces)
    if plot and records.rows:
        from tramposim.report.picture import curve_picture

        write_result(curve_picture(records), plot)
    if trace and traces is not None:
        from tramposim.report.load_trace import load_trace_json

        write_result(load_trace_json(traces), trace)
    write_result(
        {
            "table": lambda: (curve_text if curve else load_text)(records, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: (curve_markdown if curve else load_markdown)(records),
        }[format_name](),
        output,
    )
    return 0 if records.meta["complete"] else 130


def _listing() -> str:
    """Name and description of each workload known by name."""
    from tramposim.study.workload import known_workloads, read_workload

    known = {name: read_workload(path) for name, path in known_workloads().items()}
    width = max(map(len, known), default=0)
    return "".join(
        f"{name:{width}}  {workload.workload.description}\n" for name, workload in known.items()
    )


def _own(
    path: Path, chosen: FunctionChoice, workload: Workload, names: Sequence[str]
) -> OwnPrograms:
    """The programs of a file that trace the workload's function, or the one that was chosen."""
    from tramposim.study.costs import parse_costs
    from tramposim.study.own import OwnPrograms, chosen_groups, groups_of

    called = workload.prototype.name
    if chosen.proto is None and chosen.btf is None and chosen.name in (None, called):
        chosen = replace(chosen, proto=workload.function.prototype)
    elif chosen.proto is None and chosen.name is None:
        chosen = replace(chosen, name=called)
    programs = chosen.tracing_programs(path, workload.machine.kernel)
    (traced,) = chosen.traced(programs, path)
    left_out = [program.name for program in programs if program not in traced.programs]
    if left_out:
        _log.warning("%s: left out, not of %s: %s", path, traced.name, ", ".join(left_out))
    of = traced.programs
    groups = chosen_groups(of, names, str(path)) if names else groups_of(of)
    return OwnPrograms(path.name, traced, groups, parse_costs(chosen.costs))


def _simulate(
    variants: Sequence[Workload],
    own: OwnPrograms | None,
    runs: int,
    traces: list[LoadTrace] | None,
) -> Records:
    """Measure calls and simulate; Ctrl-C ends with what there is."""
    from tramposim.cli.progress import bar, progress
    from tramposim.cli.stop import stop_on_interrupt
    from tramposim.study.load import load as simulate_load
    from tramposim.study.meter import meters_of

    started = time.monotonic()
    with progress("load") as report, stop_on_interrupt() as stopped:

        def watch(what: str, done: float) -> bool:
            seconds = time.monotonic() - started
            left = f", {seconds * (1 - done) / done:.0f} s left" if done else ""
            report(f"{bar(done)} {100 * done:.0f} %{left}; {what}")
            return not stopped()

        return simulate_load(
            variants,
            meters_of(variants[0], own),
            own=own,
            runs=runs,
            progress=watch,
            trace=None if traces is None else traces.append,
        )
