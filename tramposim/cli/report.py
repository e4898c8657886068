"""`tramposim report`: tables, other tools' files, or one HTML page."""

from __future__ import annotations

import click

from tramposim.cli.options import (
    arch_option,
    core_option,
    format_option,
    kernel_option,
    output_option,
    proto_option,
    returns_option,
)

__all__ = ["report"]


@click.command(
    epilog="""\b
Examples:
  tramposim report -o report.html
  tramposim report compare.json sweep.json -o report.html
  tramposim report compare.json --format pyperf -o base.json
  tramposim report --arch x86_64 --returns its -o its.html"""
)
@click.argument("sources", metavar="[RECORDS.json...]", nargs=-1)
@arch_option(both=True)
@kernel_option()
@core_option(both=True)
@returns_option()
@proto_option()
@format_option("html", "md", "csv", "pyperf", "gbench")
@output_option()
def report(
    sources: tuple[str, ...],
    archs: tuple[str, ...],
    version: str,
    core_names: tuple[str, ...],
    returns: str | None,
    proto: str | None,
    format_name: str,
    output: str,
) -> None:
    """A report of the comparison, as one HTML page or in another tool's format.

    RECORDS are what other commands printed with --format json; without any, the comparison,
    its parts, every core, call rates, scaling and the models' accuracy are measured now.
    `pyperf` and `gbench` write times at the core models' clocks, for pyperf compare_to and
    Google Benchmark's compare.py.
    """
    from tramposim.cli.diff import read_records
    from tramposim.cli.progress import progress
    from tramposim.report.export import records_csv
    from tramposim.report.interchange import google_benchmark_json, pyperf_json
    from tramposim.report.kinds import records_markdown
    from tramposim.report.output import write_result
    from tramposim.report.page import html_page
    from tramposim.study.compare import compare
    from tramposim.study.kernels import kernel_of
    from tramposim.study.overview import Section, overview, versions
    from tramposim.study.subject import cores_of, function_of

    if format_name != "html" and len(sources) > 1:
        raise click.UsageError(f"--format {format_name} takes one file of records")
    if sources:
        sections = tuple(Section(read_records(path), source=path) for path in sources)
    else:
        kernels = [kernel_of(arch, version, None, returns) for arch in archs]
        cores = cores_of([kernel.arch for kernel in kernels], core_names)
        prototype = function_of(proto)
        with progress("report") as step:
            if format_name == "html":
                sections = overview(kernels, cores, prototype, step)
            else:
                sections = (Section(compare(kernels, cores, prototype, progress=step)),)
    first = sections[0].records
    if format_name == "html":
        title = f"fsession against fentry + fexit on {first.meta.get('function', 'a function')}"
        write_result(html_page(sections, title, None if sources else versions()), output)
        return
    write_result(
        {
            "md": lambda: records_markdown(first),
            "csv": lambda: records_csv(first),
            "pyperf": lambda: pyperf_json(first),
            "gbench": lambda: google_benchmark_json(first),
        }[format_name](),
        output,
    )
