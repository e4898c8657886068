"""`tramposim jit`: the machine code of a BPF program, or of the programs of a record."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from tramposim.cli.options import arch_option, kernel_option, output_option

__all__ = ["jit"]

_SOURCE_ONLY = ("arch", "version", "btf", "include")


@click.command(
    epilog="""\b
Examples:
  tramposim jit latency.bpf.c
  tramposim jit latency.bpf --arch arm64 --hex
  tramposim jit capture.jsonl.xz#body.bpf_fentry_test1.fs.lat"""
)
@click.argument("spec", metavar="PROG|FILE#ID")
@arch_option(both=False)
@kernel_option()
@click.option(
    "--btf",
    type=Path,
    metavar="FILE",
    help="Kernel types for CO-RE relocations, such as /sys/kernel/btf/vmlinux.",
)
@click.option(
    "--include",
    "-I",
    multiple=True,
    type=Path,
    metavar="DIR",
    help="Look for headers of C programs here too.",
)
@click.option("--hex", "as_hex", is_flag=True, help="Print the code as hex, a line per program.")
@output_option()
@click.pass_context
def jit(
    ctx: click.Context,
    spec: str,
    arch: str,
    version: str,
    btf: Path | None,
    include: tuple[Path, ...],
    as_hex: bool,
    output: str,
) -> None:
    """Compile BPF programs and print what each eBPF instruction becomes.

    PROG is a C file for libbpf, an ELF object, raw instructions (.bin, .hex), or text in the
    syntax of bpftool and llvm-objdump with .map and .section directives; FILE#ID is a record
    of a kernel capture, built from the record's inputs.
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
        programs = read_source(Path(spec), btf=btf, include=include, version=kernel.version)
        built = list(program_images(kernel, programs))
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
