"""`tramposim throughput`: cycles per iteration of code blocks on a core."""

from __future__ import annotations

import csv
import io
import sys
from typing import TextIO, cast

import click

from tramposim.cli.options import output_option
from tramposim.errors import InputError, TramposimError, UnsupportedError

__all__ = ["throughput"]


@click.command(
    epilog="""\b
Examples:
  tramposim throughput --core golden-cove --hex 4801c8480fafc1
  tramposim throughput --core golden-cove -i blocks.csv -o cycles.csv"""
)
@click.option(
    "--core",
    "core_name",
    metavar="NAME",
    required=True,
    help="Core model; 'tramposim cores' lists them.",
)
@click.option("--hex", "hex_code", metavar="BYTES", help="Machine code of one block.")
@click.option(
    "-i", "--input", "source", metavar="FILE", help="CSV with a column hex ('-': standard input)."
)
@click.option(
    "--mode",
    type=click.Choice(["unroll", "loop"]),
    default="unroll",
    show_default=True,
    help="Copies one after the other, or one copy as a loop.",
)
@output_option()
def throughput(
    core_name: str, hex_code: str | None, source: str | None, mode: str, output: str
) -> None:
    """Cycles per iteration of a code block, or of every block of a CSV.

    Output is CSV: `hex`, `cycles`, `instructions`, `slots`, `error`. A block that cannot be
    timed has empty cycles and its reason in `error`; the exit status is then 3.
    """
    from tramposim.report.output import write_result
    from tramposim.timing.core import load_core
    from tramposim.timing.throughput import Mode
    from tramposim.timing.throughput import throughput as measure

    core = load_core(core_name)
    if (hex_code is None) == (source is None):
        raise InputError("give either --hex BYTES or -i FILE", "throughput")
    blocks = [hex_code] if hex_code is not None else _read(cast(str, source))
    failed = 0
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["hex", "cycles", "instructions", "slots", "error"])
    for number, block in enumerate(blocks, 1):
        try:
            code = bytes.fromhex(block)
        except ValueError:
            raise InputError(f"not hex: {block[:40]!r}", f"block {number}") from None
        try:
            result = measure(code, core, cast(Mode, mode))
        except TramposimError as error:
            if hex_code is not None:
                raise
            failed += 1
            writer.writerow([block, "", "", "", str(error)])
            continue
        writer.writerow(
            [block, f"{result.cycles:.4f}", result.instructions, f"{result.slots:.2f}", ""]
        )
    write_result(text.getvalue(), output)
    if failed:
        raise UnsupportedError(f"{failed} of {len(blocks)} blocks could not be timed (see `error`)")


def _read(source: str) -> list[str]:
    """Column `hex` of a CSV file."""
    try:
        if source == "-":
            return _column(sys.stdin, "stdin")
        with open(source, newline="", encoding="utf-8") as file:
            return _column(file, source)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source) from error


def _column(file: TextIO, where: str) -> list[str]:
    reader = csv.DictReader(file)
    if "hex" not in (reader.fieldnames or ()):
        raise InputError("no column `hex` in the first line", where)
    return [row["hex"] or "" for row in reader]
