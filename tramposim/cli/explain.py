"""`tramposim explain`: where the cycles go, part by part."""

from __future__ import annotations

import click

from tramposim.cli.function import FunctionChoice
from tramposim.cli.options import format_option, output_option
from tramposim.cli.subjects import Scenarios, scenario_options

__all__ = ["explain"]


@click.command(
    epilog="""\b
Examples:
  tramposim explain fsession
  tramposim explain fentry+fexit fsession --arch x86_64
  tramposim explain fentry+fexit:latency-hash fsession+cookie:latency-cookie --arch x86_64
  tramposim explain fentry+fexit fsession --state cold --arch x86_64
  tramposim explain fexit --entry call --arch x86_64 --format json -o fexit.json
  tramposim explain session.bpf.c --arch x86_64
  tramposim explain session.bpf.c trace_entry+trace_exit trace_session --cost bpf_printk=800"""
)
@scenario_options(both=True)
@click.option("--path", is_flag=True, help="Show every link of the critical path.")
@format_option("table", "json", "csv", "md")
@output_option()
def explain(
    words: tuple[str, ...],
    archs: tuple[str, ...],
    version: str,
    core_names: tuple[str, ...],
    entry: str | None,
    returns: str | None,
    chosen: FunctionChoice,
    state: str | None,
    path: bool,
    format_name: str,
    output: str,
) -> None:
    """Where the cycles of a traced call go: by part of the image, with what costs them.

    SCENARIO is written as for `compare`, with the programs' body behind a colon (default:
    empty). With two scenarios the difference is explained part by part. In a state other than
    hot, every line and page that a call waits for is named.

    PROG is a file of your own programs, as for `compare`. Programs that NAME joins by + are
    attached together; without names: the fentry and fexit programs and the fsession side by
    side if the file has just these, else all programs together.
    """
    from tramposim.cli.progress import progress
    from tramposim.report.explain import explain_markdown, explain_text
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.study.explain import explain_calls, explain_records
    from tramposim.study.kernels import kernel_of
    from tramposim.study.records import encode_records
    from tramposim.study.staged import stage
    from tramposim.study.subject import cores_of

    scenarios = Scenarios(words, chosen, version, state or "hot", most=2)
    cores = cores_of(archs, core_names)
    found = []
    with progress("explain") as step:
        for arch in archs:
            step(f"{arch} {' '.join(words)}")
            kernel = kernel_of(arch, version, entry, returns)
            for executed in scenarios.executed(kernel):
                found.append(explain_calls(stage(executed, cores[arch])))
    records = explain_records(found)
    write_result(
        {
            "table": lambda: explain_text(records, output, path),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: explain_markdown(records, path),
        }[format_name](),
        output,
    )
