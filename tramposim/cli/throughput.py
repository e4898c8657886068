"""`tramposim throughput`: cycles per iteration of code blocks on a core."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import click

from tramposim.cli.blocks import read_blocks
from tramposim.cli.options import output_option
from tramposim.errors import InputError, TramposimError, UnsupportedError

if TYPE_CHECKING:
    from tramposim.timing.throughput import Throughput

__all__ = ["throughput"]


@click.command(
    epilog="""\b
Examples:
  tramposim throughput --core golden-cove --hex 4801c8480fafc1 --format text
  tramposim throughput --core golden-cove -i blocks.csv -o cycles.csv
  tramposim throughput --core golden-cove -i blocks.csv --mode loop --causes path"""
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
    type=click.Choice(["unroll", "cached", "loop"]),
    default="unroll",
    show_default=True,
    help="Copies one after the other that are decoded, or that the uop cache holds; or one copy "
    "as a loop.",
)
@click.option(
    "--causes",
    "rule",
    type=click.Choice(["stalls", "path"]),
    help="How cycles get their causes: by what kept rename and retirement (stalls), or by the "
    "critical path as `explain` does (path: some 20 times slower).  [default: path with --hex, "
    "stalls with -i]",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=None,
    help="Processes that share the blocks of a file.  [default: one per CPU]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "text"]),
    default="csv",
    show_default=True,
    help="csv, or text with the share of each cause.",
)
@output_option()
def throughput(
    core_name: str,
    hex_code: str | None,
    source: str | None,
    mode: str,
    rule: str | None,
    jobs: int | None,
    form: str,
    output: str,
) -> None:
    """Cycles per iteration of a code block, or of every block of a CSV, and the bottleneck.

    The bottleneck is the cause of most cycles. The critical path names the same reasons as
    `explain`; stalls are cheaper, and where two things limit a block they may name the other.

    Output is CSV: `hex`, `cycles`, `instructions`, `slots`, `bottleneck`, `error`. A block that
    cannot be timed has empty cycles and its reason in `error`; the exit status is then 3.
    """
    from tramposim.report.output import write_result
    from tramposim.timing.blocks import time_blocks
    from tramposim.timing.core import load_core
    from tramposim.timing.throughput import Mode, Rule

    core = load_core(core_name)
    if (hex_code is None) == (source is None):
        raise InputError("give either --hex BYTES or -i FILE", "throughput")
    blocks = [hex_code] if hex_code is not None else read_blocks(cast(str, source))
    rule = rule or ("stalls" if hex_code is None else "path")
    codes = _codes(blocks)
    results = time_blocks(codes, core, cast(Mode, mode), jobs, cast(Rule, rule))
    if hex_code is not None and isinstance(results[0], TramposimError):
        raise results[0]
    write_result((_text if form == "text" else _csv)(blocks, results), output)
    failed = sum(isinstance(result, TramposimError) for result in results)
    if failed:
        raise UnsupportedError(f"{failed} of {len(blocks)} blocks could not be timed (see `error`)")


def _codes(blocks: list[str]) -> list[bytes]:
    """The blocks' bytes; raises `InputError` naming the first that is not hex."""
    codes = []
    for number, block in enumerate(blocks, 1):
        try:
            codes.append(bytes.fromhex(block))
        except ValueError:
            raise InputError(f"not hex: {block[:40]!r}", f"block {number}") from None
    return codes


def _csv(blocks: list[str], results: Sequence[Throughput | TramposimError]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["hex", "cycles", "instructions", "slots", "bottleneck", "error"])
    for block, result in zip(blocks, results, strict=True):
        if isinstance(result, TramposimError):
            writer.writerow([block, "", "", "", "", str(result)])
            continue
        writer.writerow(
            [
                block,
                f"{result.cycles:.4f}",
                result.instructions,
                f"{result.slots:.2f}",
                result.bottleneck,
                "",
            ]
        )
    return text.getvalue()


def _text(blocks: list[str], results: Sequence[Throughput | TramposimError]) -> str:
    lines = []
    for block, result in zip(blocks, results, strict=True):
        if isinstance(result, TramposimError):
            lines.append(f"{block}: error: {result}")
            continue
        lines.append(
            f"{block}: {result.cycles:.2f} cycles per iteration on {result.core} ({result.mode}), "
            f"{result.instructions} instructions, {result.slots:.2f} slots; "
            f"causes by {'the critical path' if result.rule == 'path' else 'stalls'}:"
        )
        lines += [
            f"  {name:26} {cycles:7.2f} cycles  {cycles / result.cycles:4.0%}"
            for name, cycles in result.causes.items()
            if cycles >= result.cycles / 100
        ]
    return "\n".join(lines) + "\n"
