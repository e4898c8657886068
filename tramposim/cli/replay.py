"""`tramposim replay`: captured images executed with their kernel's own functions, and timed."""

from __future__ import annotations

from pathlib import Path

import click

from tramposim.cli.options import core_option, format_option, output_option

__all__ = ["replay"]

_SPEED_FROM = 50
"""Rows from which on their rate is worth a line."""


@click.command(
    epilog="""\b
Examples:
  tramposim replay capture.jsonl.xz
  tramposim replay capture.jsonl.xz --ids n1.bpf_fentry_test1.fs,n1.bpf_fentry_test1.fe_fx
  tramposim replay capture.jsonl.xz --core golden-cove --format json -o replay.json
  tramposim replay hardware/golden-cove-images.csv --core golden-cove"""
)
@click.argument("files", nargs=-1, required=True, metavar="CAPTURE...", type=Path)
@click.option(
    "--ids", metavar="LIST", help="Only these records: a,b,c or a file (CSV column id, or lines)."
)
@core_option(both=True)
@click.option(
    "--runtime",
    type=Path,
    metavar="FILE",
    help="Capture with the kernel's functions.  [default: CAPTURE, or the -runtime file beside]",
)
@click.option(
    "--hardware",
    type=Path,
    metavar="CSV",
    help="Measured cycles (columns id, hw_cycles_median): only these records, with the error. "
    "A CSV as CAPTURE is the same.",
)
@click.option(
    "--golden",
    type=Path,
    metavar="DIR",
    help="Where the captures of a CSV's ids are.  [default: ../golden beside the CSV]",
)
@click.option(
    "--kernel",
    "version",
    metavar="VERSION",
    default="7.2",
    show_default=True,
    help="Kernel of the captures that a CSV's ids are looked up in.",
)
@click.option(
    "--variant",
    metavar="NAME",
    help="Boot variant of the captures that a CSV's ids are looked up in.  "
    "[default: default (x86_64), max (arm64)]",
)
@format_option("table", "json", "csv", "md")
@output_option()
@click.pass_context
def replay(
    ctx: click.Context,
    files: tuple[Path, ...],
    ids: str | None,
    core_names: tuple[str, ...],
    runtime: Path | None,
    hardware: Path | None,
    golden: Path | None,
    version: str,
    variant: str | None,
    format_name: str,
    output: str,
) -> None:
    """Execute the images and programs of capture files as they are, and time them.

    Image, programs and traced function are the captured bytes; the functions around them are
    the captured kernel's own. Data that code reaches for appears as zeroed pages. The calling
    loop is that of the hardware measurements: arguments from immediates, back-to-back calls,
    everything hot. Exits with 1 if code went astray, 3 if something is not supported.

    A CSV of measured cycles stands for the captures that hold its ids; measured and modelled
    cycles are then printed side by side.
    """
    import time

    from tramposim.capture.records import Capture
    from tramposim.cli.progress import progress
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.report.replay import replay_markdown, replay_text
    from tramposim.study.measured import read_ids, read_measured
    from tramposim.study.records import encode_records
    from tramposim.study.replay import ReplayRequest
    from tramposim.study.replay import replay as run
    from tramposim.study.replay_files import captures_of
    from tramposim.study.subject import cores_of
    from tramposim.timing import load_core

    tables = [path for path in files if path.suffix == ".csv"]
    captures = tuple(path for path in files if path.suffix != ".csv")
    if len(tables) + (hardware is not None) > 1:
        raise click.UsageError("one CSV of measured cycles at a time")
    table = hardware or (tables[0] if tables else None)
    measured = read_measured(table) if table is not None else {}
    wanted = read_ids(ids) if ids is not None else tuple(measured) if table is not None else None
    if table is not None and not captures:
        arch = load_core(core_names[0]).arch if core_names else None
        captures = captures_of(golden or table.parent / ".." / "golden", version, variant, arch)
    cores = cores_of({Capture(path).boot.arch: None for path in captures}, core_names)
    started = time.monotonic()
    with progress("replay") as step:
        replays = run(
            ReplayRequest(
                captures,
                cores.__getitem__,
                wanted,
                measured,
                runtime,
            ),
            step,
        )
    write_result(
        {
            "table": lambda: replay_text(replays.records, output),
            "json": lambda: encode_records(replays.records),
            "csv": lambda: records_csv(replays.records),
            "md": lambda: replay_markdown(replays.records),
        }[format_name](),
        output,
    )
    count, seconds = len(replays.records.rows), time.monotonic() - started
    if count >= _SPEED_FROM:
        click.echo(f"replay: {count} rows in {seconds:.1f} s, {count / seconds:.0f}/s", err=True)
    if replays.without_image:
        click.echo(f"replay: {replays.without_image} records hold no code", err=True)
    if replays.exit_code:
        ctx.exit(replays.exit_code)
