"""`tramposim compare`: the question answered."""

from __future__ import annotations

import click

from tramposim.cli.options import arch_option, format_option, kernel_option, output_option


@click.command(
    epilog="""\b
Examples:
  tramposim compare
  tramposim compare --arch x86_64 --returns its --entry call
  tramposim compare --format json -o compare.json"""
)
@arch_option(both=True)
@kernel_option()
@click.option("--core", "cores", multiple=True, metavar="NAME", help="Core model; see 'cores'.")
@click.option("--entry", metavar="MODE", help="jmp or call (x86_64), bl or ftrace (arm64).")
@click.option("--returns", metavar="KIND", help="x86_64 return thunks: plain, its, srso, ...")
@click.option("--proto", metavar="C", help="Prototype of the traced function.")
@format_option("table", "json", "csv", "md")
@output_option()
def compare(
    archs: tuple[str, ...],
    version: str,
    cores: tuple[str, ...],
    entry: str | None,
    returns: str | None,
    proto: str | None,
    format_name: str,
    output: str,
) -> None:
    """What one fsession program costs versus separate fentry + fexit programs."""
    from tramposim.cli.progress import progress
    from tramposim.report.compare import compare_markdown, compare_text
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.study import compare as study
    from tramposim.study.records import encode_records

    with progress("compare") as report:
        records = study.compare(
            *study.compare_inputs(archs, version, cores, entry, returns, proto), progress=report
        )
    if format_name == "json":
        text = encode_records(records)
    elif format_name == "csv":
        text = records_csv(records)
    elif format_name == "md":
        text = compare_markdown(records)
    else:
        text = compare_text(records, output)
    write_result(text, output)
