"""`tramposim validate`: hold images and programs from a JIT against the rules."""

from __future__ import annotations

from pathlib import Path

import click

from tramposim.cli.options import format_option, output_option

__all__ = ["validate"]


@click.command(
    epilog="""\b
Examples:
  tramposim validate capture.jsonl.xz
  tramposim validate capture.jsonl.xz#n1.bpf_fentry_test1.fs"""
)
@click.argument("dumps", nargs=-1, required=True, metavar="DUMP...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random inputs.")
@click.option(
    "--runs",
    type=click.IntRange(1, 100_000),
    default=24,
    show_default=True,
    help="Runs of each program on random inputs.",
)
@format_option("text", "json")
@output_option()
@click.pass_context
def validate(
    ctx: click.Context,
    dumps: tuple[str, ...],
    seed: int,
    runs: int,
    format_name: str,
    output: str,
) -> None:
    """Hold what a JIT emitted against the rules of the kernel, by executing it.

    DUMP is a capture file, or one record of it (FILE#ID). Trampoline images run alone, on all
    ways through them, and every call that they make is checked; programs run on random
    contexts, maps and memory beside the interpreter.

    Violations name the rule, the instruction and the way to it. The last line is
    `N passed, N failed`. Exits with 1 if anything failed.
    """
    from tramposim.cli.progress import progress
    from tramposim.report.output import write_result
    from tramposim.report.validate import summary_line, validated_json, validated_text
    from tramposim.study.validate import Settings, Validated, validate_capture

    settings = Settings(seed, runs)
    results: list[Validated] = []
    streams = format_name == "text" and output == "-"
    with progress("validate") as step:
        for dump in dumps:
            path, _, only = dump.partition("#")
            for result in validate_capture(Path(path), only or None, settings):
                step(f"{len(results)} checked, {result.id}")
                results.append(result)
                if streams:
                    click.echo(validated_text(result), nl=False)
    if format_name == "json":
        write_result(validated_json(results), output)
    elif streams:
        click.echo(summary_line(results), nl=False)
    else:
        write_result("".join(map(validated_text, results)) + summary_line(results), output)
    if any(result.violations for result in results):
        ctx.exit(1)
    if any(result.unsupported for result in results):
        ctx.exit(3)
