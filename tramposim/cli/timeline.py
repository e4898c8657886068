"""`tramposim timeline`: when each instruction passed each stage of the core."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tramposim.cli.function import FunctionChoice
from tramposim.cli.options import format_option, output_option
from tramposim.cli.subjects import Scenarios, scenario_options

if TYPE_CHECKING:
    from tramposim.study.timeline import Timeline

__all__ = ["timeline"]

_MOST = 16
"""Scenarios of one picture."""


@click.command(
    epilog="""\b
Examples:
  tramposim timeline fsession
  tramposim timeline fexit --entry call --part 'call original'
  tramposim timeline fentry+fexit fsession --ab --format konata -o call.kanata.gz
  tramposim timeline fsession+cookie:latency-cookie --format perfetto -o call.json
  tramposim timeline session.bpf.c trace_session --arch arm64 --part 'body fentry[0]'"""
)
@scenario_options(both=False)
@click.option(
    "--calls", type=click.IntRange(1, 15), default=1, show_default=True, help="Calls to show."
)
@click.option("--part", metavar="NAME", help="Show only this part of the call (text).")
@click.option(
    "--ab",
    is_flag=True,
    help="Two scenarios: corresponding instructions get the same retire id, so that Konata "
    "overlays them; Konata logs go to FILE with -a and -b before the suffix.",
)
@format_option("text", "konata", "perfetto")
@output_option()
def timeline(
    words: tuple[str, ...],
    arch: str,
    version: str,
    core_name: str | None,
    entry: str | None,
    returns: str | None,
    chosen: FunctionChoice,
    state: str | None,
    calls: int,
    part: str | None,
    ab: bool,
    format_name: str,
    output: str,
) -> None:
    """Pipeline picture of one call: text, Konata log or Perfetto trace.

    SCENARIO and PROG are written as for `explain`. Hot, the call is one of a steady state (of
    the faster one if the front end has two). A file name that ends in .gz is written compressed.
    """
    from tramposim.report.timeline import konata_log, perfetto_json, timeline_text
    from tramposim.study.kernels import kernel_of
    from tramposim.study.staged import stage
    from tramposim.study.subject import cores_of
    from tramposim.study.timeline import align
    from tramposim.study.timeline import timeline as make

    core = cores_of([arch], [core_name] if core_name else [])[arch]
    kernel = kernel_of(arch, version, entry, returns)
    scenarios = Scenarios(words, chosen, version, state or "hot", most=_MOST)
    made: list[Timeline] = [
        make(stage(executed, core), calls) for executed in scenarios.executed(kernel)
    ]
    if ab and len(made) != 2:
        raise click.UsageError("--ab needs two scenarios")
    if format_name == "konata" and len(made) > 1 and not (ab and output != "-"):
        raise click.UsageError("a Konata log holds one scenario; give two with --ab and -o FILE")
    if part is not None:
        known = list(dict.fromkeys(row.part for one in made for row in one.rows))
        if part not in known:
            raise click.UsageError(f"no part {part!r}; there are: {', '.join(known)}")
    if ab:
        made = list(align(made[0], made[1]))
    if format_name == "konata" and ab:
        for one, side in zip(made, ("-a", "-b"), strict=True):
            _write(konata_log(one), _beside(output, side))
    elif format_name == "konata":
        _write(konata_log(made[0]), output)
    elif format_name == "perfetto":
        _write(perfetto_json(tuple(made)), output)
    else:
        _write("\n".join(timeline_text(one, part) for one in made), output)


def _beside(output: str, side: str) -> str:
    """The file name with `side` before its suffixes."""
    path = Path(output)
    suffixes = "".join(path.suffixes)
    return str(path.with_name(path.name.removesuffix(suffixes) + side + suffixes))


def _write(text: str, output: str) -> None:
    from tramposim.report.output import write_result

    if output.endswith(".gz"):
        write_result(gzip.compress(text.encode(), mtime=0), output)
    else:
        write_result(text, output)
