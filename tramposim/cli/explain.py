"""`tramposim explain`: where the cycles go, part by part."""

from __future__ import annotations

import click

from tramposim.cli.options import (
    arch_option,
    core_option,
    entry_option,
    format_option,
    kernel_option,
    output_option,
    proto_option,
    returns_option,
    scenario_argument_completion,
    state_option,
)

__all__ = ["explain"]


@click.command(
    epilog="""\b
Examples:
  tramposim explain fsession
  tramposim explain fentry+fexit fsession --arch x86_64
  tramposim explain fentry+fexit:latency-hash fsession+cookie:latency-cookie --arch x86_64
  tramposim explain fentry+fexit fsession --state cold --arch x86_64
  tramposim explain fexit --entry call --format json -o fexit.json"""
)
@click.argument(
    "scenarios",
    metavar="SCENARIO[:BODY] [SCENARIO[:BODY]]",
    nargs=-1,
    required=True,
    shell_complete=scenario_argument_completion,
)
@arch_option(both=True)
@kernel_option()
@core_option(both=True)
@entry_option()
@returns_option()
@proto_option()
@state_option("hot")
@format_option("table", "json", "csv")
@output_option()
def explain(
    scenarios: tuple[str, ...],
    archs: tuple[str, ...],
    version: str,
    core_names: tuple[str, ...],
    entry: str | None,
    returns: str | None,
    proto: str | None,
    state: str | None,
    format_name: str,
    output: str,
) -> None:
    """Where the cycles of a traced call go: by part of the image, with what costs them.

    SCENARIO is written as for `compare`, with the programs' body behind a colon (default:
    empty). With two scenarios the difference is explained part by part. In a state other than
    hot, every line and page that a call waits for is named.
    """
    from tramposim.cli.progress import progress
    from tramposim.report.explain import explain_text
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.study.explain import explain as explained
    from tramposim.study.explain import explain_records
    from tramposim.study.kernels import kernel_of
    from tramposim.study.records import encode_records
    from tramposim.study.scenario import parse_scenario
    from tramposim.study.subject import Subject, cores_of, function_of

    if len(scenarios) > 2:
        raise click.UsageError("one scenario, or two to compare")
    cores = cores_of(archs, core_names)
    prototype = function_of(proto)
    found = []
    with progress("explain") as step:
        for arch in archs:
            kernel = kernel_of(arch, version, entry, returns)
            for text in scenarios:
                words, _, body = text.partition(":")
                step(f"{arch} {text}")
                scenario = parse_scenario(words)
                subject = Subject(kernel, prototype, scenario, body or "empty", state or "hot")
                found.append(explained(subject, cores[arch]))
    records = explain_records(found)
    write_result(
        {
            "table": lambda: explain_text(records, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
        }[format_name](),
        output,
    )
