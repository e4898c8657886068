"""`tramposim gate`: fail when a cost got worse than a record says it was."""

from __future__ import annotations

import re

import click

from tramposim.cli.diff import read_records
from tramposim.cli.options import format_option, output_option

__all__ = ["gate"]


def _percent(text: str) -> float:
    """A percentage, with or without its sign."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%?\s*", text)
    if match is None:
        raise ValueError(text)
    return float(match[1])


@click.command(
    epilog="""\b
Examples:
  tramposim compare --format json -o base.json
  tramposim gate base.json --max-regression 2%
  tramposim gate base.json new.json --field image_bytes --max-regression 0"""
)
@click.argument("base", metavar="BASE.json")
@click.argument("new", required=False, metavar="[NEW.json]")
@click.option(
    "--max-regression",
    "limit",
    type=_percent,
    default="2",
    show_default=True,
    metavar="PERCENT",
    help="By how much a number may be worse.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME",
    help="Field that is held to it (may be given more than once).  [default: cycles_per_call]",
)
@format_option("text", "json", "csv", "md")
@output_option()
def gate(
    base: str,
    new: str | None,
    limit: float,
    fields: tuple[str, ...],
    format_name: str,
    output: str,
) -> None:
    """Exit with status 1 if a number is worse than in BASE by more than --max-regression.

    NEW is a record of the same command; without it the rows of BASE (from compare or bench)
    are measured again by this version. More cycles, bytes or time are worse, as are fewer
    hits. Rows of BASE that are gone are a regression, too.
    """
    from tramposim.cli.progress import progress
    from tramposim.errors import InputError
    from tramposim.report.changes import regressions_text
    from tramposim.report.kinds import exported
    from tramposim.report.output import write_result
    from tramposim.study.changes import changes_of, changes_records, regressions
    from tramposim.study.remeasure import remeasure

    before = read_records(base)
    held = fields or ("cycles_per_call",)
    if not any(name in row for row in before.rows for name in held):
        raise InputError(f"no row has {' or '.join(held)}; say which --field is held", base)
    with progress("gate") as step:
        after = read_records(new) if new else remeasure(before, base, step)
    changes = changes_of(before, after)
    worse = regressions(changes, held, limit)
    if format_name == "text":
        write_result(regressions_text(changes, worse, limit, output), output)
    else:
        records = changes_records(changes, base, new or "measured now", "gate", worse)
        write_result(exported(records, format_name), output)
    if worse or changes.gone:
        click.get_current_context().exit(1)
