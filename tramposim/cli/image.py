"""`tramposim image`: the trampoline image of a scenario or of a captured record."""

from __future__ import annotations

import click
from click.core import ParameterSource

from tramposim.cli.options import (
    arch_option,
    entry_option,
    format_option,
    kernel_option,
    output_option,
    proto_option,
    returns_option,
)

__all__ = ["image"]

_SCENARIO_ONLY = ("arch", "version", "entry", "returns", "proto")


@click.command(
    epilog="""\b
Examples:
  tramposim image fsession
  tramposim image 'fsession*2+cookie+fentry' --proto 'int f(int, void *)' --layout
  tramposim image fexit --arch arm64 --kernel 7.0 --hex
  tramposim image fsession --format json -o fsession.json
  tramposim image capture.jsonl.xz#n1.bpf_fentry_test1.fs"""
)
@click.argument("spec", metavar="SPEC")
@arch_option(both=False)
@kernel_option()
@entry_option()
@returns_option()
@proto_option()
@click.option("--hex", "form", flag_value="hex", help="Print the code as hex, without fill.")
@click.option("--layout", "form", flag_value="layout", help="Print the stack frame.")
@click.option(
    "--jited", "form", flag_value="jited", help="Print kernel selftest lines: __jited(...)."
)
@click.option("--elf", "elf", metavar="FILE", help="Also write the image as an ELF file.")
@format_option("text", "json", "csv", "md")
@output_option()
@click.pass_context
def image(
    ctx: click.Context,
    spec: str,
    arch: str,
    version: str,
    entry: str | None,
    returns: str | None,
    proto: str | None,
    form: str | None,
    elf: str | None,
    format_name: str,
    output: str,
) -> None:
    """Build a trampoline image and print its labelled disassembly.

    SPEC is a scenario (fentry, fexit, fmod_ret, fsession, joined by +, with *N and the
    modifiers cookie, ip, sleepable), or FILE#ID for the image of a capture record, built from
    the record's inputs.

    JSON and CSV have a row per part with its code in hex, with --layout a row per slot of the
    frame.
    """
    from tramposim.capture.select import is_record_spec
    from tramposim.kernel.declaration import declare
    from tramposim.report.elf import image_elf
    from tramposim.report.jited import jited_text
    from tramposim.report.kinds import exported
    from tramposim.report.listing import frame_text, listing_text
    from tramposim.report.output import write_result
    from tramposim.study.image import record_image, scenario_image
    from tramposim.study.kernels import kernel_of
    from tramposim.study.machinecode import frame_records, image_records
    from tramposim.study.scenario import parse_scenario
    from tramposim.study.subject import function_of

    if format_name != "text" and form in ("hex", "jited"):
        raise click.UsageError(f"--{form} prints text: it takes no --format")
    if is_record_spec(spec):
        for option in ctx.command.params:
            given = ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
            if given and option.name in _SCENARIO_ONLY:
                raise click.UsageError(f"a record says itself what {option.opts[0]} would choose")
        kernel, built = record_image(spec)
        title, about = spec, {"record": spec}
    else:
        prototype = function_of(proto)
        scenario = parse_scenario(spec)
        kernel = kernel_of(arch, version, entry, returns)
        built = scenario_image(kernel, prototype, scenario)
        title = f"{scenario.word} on {prototype.name}"
        about = {"scenario": scenario.word, "function": declare(prototype)}
    about |= {"arch": kernel.arch.value, "kernel": kernel.version, "returns": kernel.returns.value}
    title = f"{title} ({kernel.arch}, kernel {kernel.version})"
    if elf is not None:
        write_result(image_elf(built, "bpf_trampoline"), elf)
    if format_name != "text":
        records = (frame_records if form == "layout" else image_records)(built, about)
        text = exported(records, format_name)
    elif form == "hex":
        text = built.code.hex() + "\n"
    elif form == "jited":
        text = jited_text(built)
    elif form == "layout":
        assert built.frame is not None
        text = frame_text(built.frame, title)
    else:
        text = listing_text(built, title)
    write_result(text, output)
