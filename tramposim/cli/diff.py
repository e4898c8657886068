"""`tramposim diff`: what differs between two kernels, knobs, scenarios or records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tramposim.cli.options import (
    arch_option,
    core_option,
    format_option,
    output_option,
    proto_option,
    scenario_argument_completion,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tramposim.study.records import Records, Value

__all__ = ["diff", "read_records"]


@click.command(
    epilog="""\b
Examples:
  tramposim diff fentry+fexit fsession
  tramposim diff fsession --kernel 7.0 --kernel 7.2
  tramposim diff fexit --returns plain --returns its
  tramposim diff base.json new.json"""
)
@click.argument(
    "sides",
    metavar="SCENARIO [SCENARIO] | BASE.json NEW.json",
    nargs=-1,
    required=True,
    shell_complete=scenario_argument_completion,
)
@arch_option(both=False)
@click.option("--kernel", "versions", multiple=True, metavar="VERSION",
              help="Kernel version; given twice, one for each side.  [default: 7.2]")  # fmt: skip
@click.option("--entry", "entries", multiple=True, metavar="MODE",
              help="How the entry reaches the image; given twice, one for each side.")  # fmt: skip
@click.option("--returns", "returns", multiple=True, metavar="KIND",
              help="x86_64 return thunks; given twice, one for each side.")  # fmt: skip
@core_option(both=False)
@proto_option()
@format_option("text", "json", "csv", "md")
@output_option()
def diff(
    sides: tuple[str, ...],
    arch: str,
    versions: tuple[str, ...],
    entries: tuple[str, ...],
    returns: tuple[str, ...],
    core_name: str | None,
    proto: str | None,
    format_name: str,
    output: str,
) -> None:
    """What differs between two images, instruction by instruction, and in cost.

    Two scenarios, or one with a knob (--kernel, --entry, --returns) given twice. Two files of
    records (--format json of another command) are compared row by row. json, csv and md have a
    row for each changed number and for each part that differs.
    """
    from tramposim.report.changes import changes_text
    from tramposim.report.imagediff import diff_text, image_diff, part_rows
    from tramposim.report.kinds import exported
    from tramposim.report.output import write_result
    from tramposim.study.changes import changes_of, changes_records
    from tramposim.study.image import scenario_image
    from tramposim.study.kernels import kernel_of
    from tramposim.study.measure import measure
    from tramposim.study.records import Records
    from tramposim.study.scenario import parse_scenario
    from tramposim.study.subject import Subject, cores_of, function_of

    if len(sides) > 2:
        raise click.UsageError("two sides are compared, not more")
    if all(side.endswith(".json") for side in sides):
        if len(sides) != 2:
            raise click.UsageError("give two files of records")
        found = changes_of(read_records(sides[0]), read_records(sides[1]))
        if format_name == "text":
            write_result(changes_text(found, sides[0], sides[1], output), output)
        else:
            records = changes_records(found, sides[0], sides[1], "diff")
            write_result(exported(records, format_name), output)
        return
    knobs = [
        _both(versions or ("7.2",), "--kernel"),
        _both(entries, "--entry"),
        _both(returns, "--returns"),
    ]
    kernels = [kernel_of(arch, str(knobs[0][side]), knobs[1][side], knobs[2][side])
               for side in (0, 1)]  # fmt: skip
    scenarios = [parse_scenario(text) for text in (sides * 2)[:2]]
    if scenarios[0] == scenarios[1] and kernels[0] == kernels[1]:
        raise click.UsageError("both sides are the same: give two scenarios, or a knob twice")
    prototype = function_of(proto)
    core = cores_of([arch], [core_name] if core_name else [])[arch]
    images = [scenario_image(kernel, prototype, scenario)
              for kernel, scenario in zip(kernels, scenarios, strict=True)]  # fmt: skip
    names = [
        " ".join([scenario.word, f"kernel {kernel.version}", *_words(knobs, side)])
        for side, (kernel, scenario) in enumerate(zip(kernels, scenarios, strict=True))
    ]
    parts = image_diff(images[0], images[1])
    rows = [measure(Subject(kernel, prototype, scenario), core).record()
            for kernel, scenario in zip(kernels, scenarios, strict=True)]  # fmt: skip
    numbers = [Records({}, (_numbers(row),)) for row in rows]
    found = changes_of(numbers[0], numbers[1])
    if format_name == "text":
        text = changes_text(found, names[0], names[1], output)
        write_result(f"{diff_text(parts, names[0], names[1])}\n{text}", output)
        return
    costs = changes_records(found, names[0], names[1], "diff")
    together = Records(costs.meta, (*costs.rows, *part_rows(parts)))
    write_result(exported(together, format_name), output)


def _numbers(row: Mapping[str, Value]) -> Mapping[str, Value]:
    """A row without what it stands for: the two sides' rows are compared though they differ."""
    numbers = {name: value for name, value in row.items() if not isinstance(value, str)}
    return {"what": "per call, hot", **numbers}


def _both(values: tuple[str, ...], name: str) -> tuple[str | None, str | None]:
    if len(values) > 2:
        raise click.UsageError(f"{name}: at most once for each side")
    if not values:
        return None, None
    return values[0], values[-1]


def _words(knobs: list[tuple[str | None, str | None]], side: int) -> list[str]:
    return [
        f"{name} {values[side]}"
        for name, values in zip(("entry by", "returns"), knobs[1:], strict=True)
        if values[side]
    ]


def read_records(path: str) -> Records:
    """Records of a JSON file; raises `InputError` for one that cannot be read."""
    from tramposim.errors import InputError
    from tramposim.study.records import decode_records

    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path) from None
    return decode_records(text, path)
