"""`tramposim validate`: hold images and programs from a JIT against the rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tramposim.cli.options import format_option, output_option

if TYPE_CHECKING:
    from tramposim.study.dumps import DumpOptions
    from tramposim.study.validate import Settings, Validated

__all__ = ["validate"]


def _options(
    version: str,
    arch: str | None,
    base: str | None,
    symbols: Path | None,
    prog: Path | None,
    proto: str | None,
) -> DumpOptions:
    from tramposim.capture.dump import read_symbols
    from tramposim.kernel.declaration import parse_prototype
    from tramposim.spec import Arch
    from tramposim.study.dumps import DumpOptions

    try:
        address = None if base is None else int(base, 0)
    except ValueError:
        raise click.BadParameter(f"{base!r} is no address", param_hint="'--base'") from None
    return DumpOptions(
        version,
        None if arch is None else Arch(arch),
        address,
        {} if symbols is None else read_symbols(symbols),
        prog,
        None if proto is None else parse_prototype(proto),
    )


def _results(dump: str, options: DumpOptions, settings: Settings) -> Iterator[Validated]:
    from tramposim.capture.readdump import is_capture
    from tramposim.study.dumps import validate_dump
    from tramposim.study.validate import Validator, validate_capture

    path, _, only = dump.partition("#")
    if only or is_capture(Path(path)):
        return validate_capture(Path(path), only or None, settings)
    return validate_dump(Path(path), options, Validator(settings))


@click.command(
    epilog="""\b
Examples:
  tramposim validate capture.jsonl.xz
  tramposim validate capture.jsonl.xz#n1.bpf_fentry_test1.fs
  bpftool -j prog dump jited id 7 opcodes > p.json
  tramposim validate p.json --symbols /proc/kallsyms --prog p.bin
  tramposim validate trampoline.bin --base 0xffffffffc0201000 --symbols System.map
  dmesg | tramposim validate /dev/stdin"""
)
@click.argument("dumps", nargs=-1, required=True, metavar="DUMP...")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random inputs.")
@click.option(
    "--runs",
    type=click.IntRange(1, 100_000),
    default=40,
    show_default=True,
    help="Runs of each program on random inputs.",
)
@click.option(
    "--kernel",
    "version",
    metavar="VERSION",
    default="7.2",
    show_default=True,
    help="Kernel version of a dump: 6.12, 7.0, 7.1, 7.2 or 7.3.",
)
@click.option(
    "--arch",
    type=click.Choice(["x86_64", "arm64"]),
    help="Architecture of a dump.  [default: as its code looks]",
)
@click.option("--base", metavar="ADDRESS", help="Address of a dump's code.")
@click.option(
    "--symbols", metavar="FILE", type=Path, help="Kernel symbols, in the form of /proc/kallsyms."
)
@click.option(
    "--prog", metavar="FILE", type=Path, help="The eBPF that a dumped program was compiled from."
)
@click.option("--proto", metavar="C", help="Prototype of the function that an image traces.")
@format_option("text", "json")
@output_option()
@click.pass_context
def validate(
    ctx: click.Context,
    dumps: tuple[str, ...],
    seed: int,
    runs: int,
    version: str,
    arch: str | None,
    base: str | None,
    symbols: Path | None,
    prog: Path | None,
    proto: str | None,
    format_name: str,
    output: str,
) -> None:
    """Hold what a JIT emitted against the rules of the kernel, by executing it.

    DUMP is a capture file, or one record of it (FILE#ID); JSON of `bpftool -j prog dump jited
    ... opcodes`; the kernel's log with net.core.bpf_jit_enable=2; text of `objdump -d`; hex
    digits; or raw bytes of one function. Trampoline images run alone, on all ways through
    them, and every call that they make is checked; programs run on random contexts, maps and
    memory beside the interpreter, if their eBPF is known.

    Violations name the rule, the instruction and the way to it. The last line is
    `N passed, N failed`. Exits with 1 if anything failed, else with 3 if something could not
    be checked.
    """
    from tramposim.cli.progress import progress
    from tramposim.report.output import write_result
    from tramposim.report.validate import summary_line, validated_json, validated_text
    from tramposim.study.validate import Settings

    settings = Settings(seed, runs)
    options = _options(version, arch, base, symbols, prog, proto)
    results: list[Validated] = []
    streams = format_name == "text" and output == "-"
    with progress("validate") as step:
        for dump in dumps:
            for result in _results(dump, options, settings):
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
