"""`tramposim native`: measure on this machine's CPU and print beside the model."""

from __future__ import annotations

import click

from tramposim.cli.options import kernel_option, output_option

__all__ = ["native"]


@click.command(
    epilog="""\b
Examples:
  tramposim native
  tramposim native --scenario 'fsession*4' --body count --core golden-cove
  tramposim native --entry jmp --entry call --returns plain --returns srso --runs 3
  tramposim native --micro --format data -o kernels.csv
  tramposim native --hex 4801c8480fafc1"""
)
@kernel_option()
@click.option(
    "--core",
    "core_name",
    metavar="NAME",
    help="Core model to print beside it.  [default: this CPU's, if there is a model of it]",
)
@click.option(
    "--entry",
    "entries",
    multiple=True,
    metavar="MODE",
    help="How the entry reaches the image (may be given more than once).",
)
@click.option(
    "--returns",
    multiple=True,
    metavar="KIND",
    help="x86_64 return thunks (may be given more than once).",
)
@click.option(
    "--scenario",
    "words",
    multiple=True,
    metavar="WORDS",
    help="Measure this scenario instead of the standard ones (may be given more than once).",
)
@click.option(
    "--body", metavar="NAME", help="What the programs of --scenario do.  [default: empty]"
)
@click.option("--micro", is_flag=True, help="Measure the micro-kernels instead.")
@click.option(
    "--hex",
    "blocks",
    multiple=True,
    metavar="BYTES",
    help="Measure an unrolled block of machine code instead (may be given more than once).",
)
@click.option(
    "-i", "--input", "source", metavar="FILE", help="Measure every block of a CSV, column hex."
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Processes that measure each row; the median of their medians counts.",
)
@click.option(
    "--samples",
    type=click.IntRange(5, 10_000),
    default=50,
    show_default=True,
    help="Samples to keep; up to 20 times as many are taken on a busy machine.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["table", "json", "csv", "md", "data"]),
    default="table",
    show_default=True,
    help="How to print the result; data: what was measured, as 'cores --accuracy' reads it.",
)
@output_option()
def native(
    version: str,
    core_name: str | None,
    entries: tuple[str, ...],
    returns: tuple[str, ...],
    words: tuple[str, ...],
    body: str | None,
    micro: bool,
    blocks: tuple[str, ...],
    source: str | None,
    runs: int,
    samples: int,
    format_name: str,
    output: str,
) -> None:
    """Execute on this machine's CPU and compare with the core model.

    The images, programs and guest runtime that `compare` times are linked at addresses of a
    process and run natively in a child process, hot, in user mode (switching interrupts off
    and on becomes nops). No root needed. The exit status is 3 if something could not be
    measured or modelled.
    """
    from tramposim.cli.blocks import read_blocks
    from tramposim.cli.progress import progress
    from tramposim.machine.native import host_arch
    from tramposim.report.export import records_csv
    from tramposim.report.native import native_data, native_markdown, native_text
    from tramposim.report.output import write_result
    from tramposim.study.compare import GRID, grid_of
    from tramposim.study.kernels import kernel_of
    from tramposim.study.micro import load_kernels
    from tramposim.study.native import (
        host_core,
        native_blocks,
        native_kernels,
        native_scenarios,
    )
    from tramposim.study.records import encode_records
    from tramposim.study.subject import function_of

    if body is not None and not words:
        raise click.UsageError("--body needs --scenario")
    if micro + bool(blocks) + bool(words) + bool(source) > 1:
        raise click.UsageError("give one of --scenario, --micro, --hex and --input")
    if source:
        blocks = tuple(read_blocks(source))
    core = host_core(core_name)
    with progress("native") as step:
        if micro:
            records = native_kernels(load_kernels(), core, samples, step, runs)
        elif blocks:
            records = native_blocks(blocks, core, samples, step, runs)
        else:
            kernels = [
                kernel_of(host_arch(), version, entry, kind)
                for kind in returns or (None,)
                for entry in entries or (None,)
            ]
            grid = grid_of(words, body) if words else GRID
            function = function_of(None)
            records = native_scenarios(kernels, core, function, grid, samples, step, runs)
    write_result(
        {
            "table": lambda: native_text(records, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: native_markdown(records),
            "data": lambda: native_data(records),
        }[format_name](),
        output,
    )
    if any("error" in row or "model_error" in row for row in records.rows):
        click.get_current_context().exit(3)
