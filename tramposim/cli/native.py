"""`tramposim native`: measure on this machine's CPU and print beside the model."""

from __future__ import annotations

import click

from tramposim.cli.options import format_option, kernel_option, output_option, returns_option

__all__ = ["native"]


@click.command(
    epilog="""\b
Examples:
  tramposim native
  tramposim native --scenario 'fsession*4' --body count --core golden-cove
  tramposim native --micro --format csv -o kernels.csv
  tramposim native --hex 4801c8480fafc1"""
)
@kernel_option()
@click.option(
    "--core",
    "core_name",
    metavar="NAME",
    help="Core model to print beside it.  [default: this CPU's, if there is a model of it]",
)
@returns_option()
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
    "--samples",
    type=click.IntRange(5, 10_000),
    default=50,
    show_default=True,
    help="Samples to keep; up to 20 times as many are taken on a busy machine.",
)
@format_option("table", "json", "csv", "md")
@output_option()
def native(
    version: str,
    core_name: str | None,
    returns: str | None,
    words: tuple[str, ...],
    body: str | None,
    micro: bool,
    blocks: tuple[str, ...],
    samples: int,
    format_name: str,
    output: str,
) -> None:
    """Execute on this machine's CPU and compare with the core model.

    The images, programs and guest runtime that `compare` times are linked at addresses of a
    process and run natively in a child process, hot, in user mode (switching interrupts off
    and on becomes nops). No root needed. The exit status is 3 if something could not be
    measured.
    """
    from tramposim.cli.progress import progress
    from tramposim.machine.native import host_arch
    from tramposim.report.export import records_csv
    from tramposim.report.native import native_markdown, native_text
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
    if micro + bool(blocks) + bool(words) > 1:
        raise click.UsageError("give one of --scenario, --micro and --hex")
    core = host_core(core_name)
    with progress("native") as step:
        if micro:
            records = native_kernels(load_kernels(), core, samples, step)
        elif blocks:
            records = native_blocks(blocks, core, samples, step)
        else:
            kernel = kernel_of(host_arch(), version, None, returns)
            grid = grid_of(words, body) if words else GRID
            records = native_scenarios(kernel, core, function_of(None), grid, samples, step)
    write_result(
        {
            "table": lambda: native_text(records, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: native_markdown(records),
        }[format_name](),
        output,
    )
    if any("error" in row for row in records.rows):
        click.get_current_context().exit(3)
