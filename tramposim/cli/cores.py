"""`tramposim cores`: the core models, every parameter with its source, and the measured errors."""

from __future__ import annotations

from pathlib import Path

import click

from tramposim.cli.options import format_option, output_option
from tramposim.timing.core import Core, core_names, load_core

__all__ = ["cores"]

_FOLDERS = (Path("results/hardware"), Path("hardware"), Path("../shared/hardware"))
"""Where the measurements are looked for, from the current directory."""


@click.command(
    epilog="""\b
Examples:
  tramposim cores
  tramposim cores golden-cove
  tramposim cores golden-cove --format csv
  tramposim cores --accuracy
  tramposim cores golden-cove --accuracy --sample 200 --data ../shared/hardware
  tramposim cores neoverse-v1 --sensitivity
  tramposim cores neoverse-v1 --sensitivity --confidence medium --format csv"""
)
@click.argument("name", required=False, metavar="[NAME]")
@click.option(
    "--accuracy",
    is_flag=True,
    help="Time everything that was measured on silicon, and say how far each model is from it.",
)
@click.option(
    "--sensitivity",
    is_flag=True,
    help="Move each uncertain number by half of its value, and say which of them move a call.",
)
@click.option(
    "--confidence",
    type=click.Choice(("low", "medium", "high")),
    help="With --sensitivity: move numbers of this confidence and less.  [default: low]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the measurements (CORE-blocks.csv and others).  "
    "[default: results/hardware, hardware and ../shared/hardware, as far as they are there]",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N rows of each data set.  [default: all]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample.")
@format_option("table", "json", "csv", "md")
@output_option()
def cores(
    name: str | None,
    accuracy: bool,
    sensitivity: bool,
    confidence: str | None,
    data: Path | None,
    sample: int | None,
    seed: int,
    format_name: str,
    output: str,
) -> None:
    """List the core models, print every parameter of core NAME with its source, or, with
    --accuracy, how far the models are from measured cycles, or, with --sensitivity, which of
    their uncertain numbers decide what a call costs."""
    from tramposim.report.output import write_result
    from tramposim.study.coredata import core_records

    chosen = tuple(load_core(each) for each in ((name,) if name else core_names()))
    if accuracy and sensitivity:
        raise click.UsageError("--accuracy and --sensitivity are two questions")
    if confidence is not None and not sensitivity:
        raise click.UsageError("--confidence needs --sensitivity")
    if accuracy:
        _accuracy(chosen, data, sample, seed, format_name, output)
        return
    if data is not None or sample is not None:
        raise click.UsageError("--data and --sample need --accuracy")
    if sensitivity:
        _sensitivity(chosen, confidence or "low", format_name, output)
        return
    if format_name != "table":
        from tramposim.report.kinds import exported

        write_result(exported(core_records(chosen), format_name), output)
    elif name is None:
        lines = (f"{c.name:16} {c.arch.value:7} {c.title}; error: {c.error}" for c in chosen)
        write_result("".join(f"{line}\n" for line in lines), output)
    else:
        write_result("".join(f"{line}\n" for line in _describe(chosen[0])), output)


def _accuracy(
    cores: tuple[Core, ...],
    data: Path | None,
    sample: int | None,
    seed: int,
    format_name: str,
    output: str,
) -> None:
    from tramposim.cli.progress import progress
    from tramposim.report.accuracy import accuracy_markdown, accuracy_text
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.study.accuracy import AccuracyRequest
    from tramposim.study.accuracy import accuracy as compare
    from tramposim.study.records import encode_records

    folders = (data,) if data else tuple(path for path in _FOLDERS if path.is_dir())
    with progress("accuracy") as step:
        records = compare(AccuracyRequest(cores, folders, sample, seed), step)
    write_result(
        {
            "table": lambda: accuracy_text(records, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: accuracy_markdown(records),
        }[format_name](),
        output,
    )


def _sensitivity(cores: tuple[Core, ...], confidence: str, format_name: str, output: str) -> None:
    from tramposim.cli.progress import progress
    from tramposim.report.kinds import exported
    from tramposim.report.output import write_result
    from tramposim.report.sensitivity import sensitivity_text
    from tramposim.study.sensitivity import sensitivity

    with progress("sensitivity") as step:
        records = sensitivity(cores, confidence, step)
    if format_name == "table":
        write_result(sensitivity_text(records, output), output)
    else:
        write_result(exported(records, format_name), output)


def _describe(core: Core) -> list[str]:
    lines = [
        f"{core.name}: {core.title}",
        f"architecture {core.arch.value}, clock {core.clock_ghz} GHz",
        f"measured error: {core.error}",
        "",
    ]
    section = ""
    for group, name, parameter in core.parameters():
        if group != section:
            lines.append(f"[{group}]")
            section = group
        value = str(parameter.value).lower()
        lines.append(f"  {name:26} {value:>6}  {parameter.confidence:8} {parameter.source}")
    lines.append("[classes]")
    for name, data in core.classes.items():
        latency = "l1" if data.latency == 0 else str(data.latency)
        shape = (
            f"latency {latency:>3}  uops {data.uops:2}  busy {data.occupancy:2}  ports {data.ports}"
        )
        lines.append(f"  {name:26} {shape:56} {data.confidence:8} {data.source}")
    lines.append("[sources]")
    lines += [f"  {key:10} {text}" for key, text in core.sources.items()]
    return lines
