"""`tramposim jit`: the machine code of a BPF program, or of the programs of a record."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from tramposim.cli.options import arch_option, kernel_option, output_option

__all__ = ["jit"]

_SOURCE_ONLY = ("arch", "version")


@click.command(
    epilog="""\b
Examples:
  tramposim jit latency.bpf
  tramposim jit latency.bpf --arch arm64 --hex
  tramposim jit capture.jsonl.xz#body.bpf_fentry_test1.fs.lat"""
)
@click.argument("spec", metavar="PROG|FILE#ID")
@arch_option(both=False)
@kernel_option()
@click.option("--hex", "as_hex", is_flag=True, help="Print the code as hex, a line per program.")
@output_option()
@click.pass_context
def jit(ctx: click.Context, spec: str, arch: str, version: str, as_hex: bool, output: str) -> None:
    """Compile BPF programs and print what each eBPF instruction becomes.

    PROG is a source file in the text syntax of bpftool and llvm-objdump, with .map and
    .section directives; FILE#ID is a record of a kernel capture, built from the record's
    inputs.
    """
    from tramposim.capture.select import is_record_spec
    from tramposim.report.listing import listing_text
    from tramposim.report.output import write_result
    from tramposim.study.kernels import kernel_of
    from tramposim.study.program import program_images, read_source, record_images

    if is_record_spec(spec) and not Path(spec).is_file():
        for name in _SOURCE_ONLY:
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"a record says itself what '{name}' would choose")
        built = list(record_images(spec))
    else:
        kernel = kernel_of(arch, version)
        built = list(program_images(kernel, read_source(Path(spec))))
    if as_hex:
        lines = ("".join(image.code.hex() for image in images) for _, images in built)
        write_result("\n".join(lines) + "\n", output)
        return
    texts = []
    for name, images in built:
        for number, image in enumerate(images):
            title = name if len(images) == 1 else f"{name}, function {number}"
            texts.append(listing_text(image, f"{title} ({image.arch})"))
    write_result("\n".join(texts), output)
