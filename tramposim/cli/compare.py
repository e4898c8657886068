"""`tramposim compare`: the question answered."""

from __future__ import annotations

import click

from tramposim.cli.options import arch_option, format_option, kernel_option, output_option


@click.command(
    epilog="""\b
Examples:
  tramposim compare
  tramposim compare --arch x86_64 --returns its --entry call
  tramposim compare --scenario 'fsession*4' --scenario 'fentry*4+fexit*4' --body count
  tramposim compare workloads/icmp_rcv.toml --format json -o compare.json"""
)
@click.argument("workload", required=False, metavar="[WORKLOAD]")
@arch_option(both=True)
@kernel_option()
@click.option(
    "--core",
    "core_names",
    multiple=True,
    metavar="NAME",
    help="Core model to time on, one per architecture; 'tramposim cores' lists them.",
)
@click.option(
    "--entry",
    metavar="MODE",
    help="How the function's entry reaches the image: jmp or call (x86_64), ftrace or bl "
    "(arm64); by default as the kernel version enters.",
)
@click.option(
    "--returns",
    metavar="KIND",
    help="x86_64 return thunks: plain (default), untrained, srso, srso-alias, its, stuffing.",
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
@click.option(
    "--proto",
    metavar="C",
    help="Prototype of the traced function.  [default: int bpf_fentry_test1(int a)]",
)
@format_option("table", "json", "csv", "md")
@output_option()
def compare(
    workload: str | None,
    archs: tuple[str, ...],
    version: str,
    core_names: tuple[str, ...],
    entry: str | None,
    returns: str | None,
    words: tuple[str, ...],
    body: str | None,
    proto: str | None,
    format_name: str,
    output: str,
) -> None:
    """What one fsession program costs versus separate fentry + fexit programs.

    Cycles per call, everything hot, for the standard scenarios and bodies on both
    architectures; then the break-even. WORKLOAD names a file whose function is traced instead
    of bpf_fentry_test1.
    """
    from tramposim.cli.progress import progress
    from tramposim.report.compare import compare_markdown, compare_text
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.study.compare import GRID, compare, grid_of
    from tramposim.study.kernels import kernel_of
    from tramposim.study.records import encode_records
    from tramposim.study.subject import cores_of, function_of

    prototype = function_of(proto, workload)
    grid = grid_of(words, body) if words else GRID
    if body is not None and not words:
        raise click.UsageError("--body needs --scenario")
    kernels = [kernel_of(arch, version, entry, returns) for arch in archs]
    with progress("compare") as step:
        records = compare(kernels, cores_of(archs, core_names), prototype, grid, step)
    write_result(
        {
            "table": lambda: compare_text(records, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: compare_markdown(records),
        }[format_name](),
        output,
    )
