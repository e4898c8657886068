"""`tramposim jit`: the machine code of a BPF program, or of the programs of a record."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from tramposim.cli.options import arch_option, format_option, kernel_option, output_option

__all__ = ["jit"]

_SOURCE_ONLY = ("arch", "version", "btf", "include")


@click.command(
    epilog="""\b
Examples:
  tramposim jit latency.bpf.c
  tramposim jit latency.bpf --arch arm64 --hex
  tramposim jit latency.bpf --format json -o latency.json
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
@format_option("text", "json", "csv", "md")
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
    format_name: str,
    output: str,
) -> None:
    """Compile BPF programs and print what each eBPF instruction becomes.

    PROG is a C file for libbpf, an ELF object, raw instructions (.bin, .hex), or text in the
    syntax of bpftool and llvm-objdump with .map and .section directives; FILE#ID is a record
    of a kernel capture, built from the record's inputs. JSON and CSV have a row per eBPF
    instruction with its machine code in hex.
    """
    from tramposim.capture.select import is_record_spec
    from tramposim.report.kinds import exported
    from tramposim.report.listing import listing_text
    from tramposim.report.output import write_result
    from tramposim.study.kernels import kernel_of
    from tramposim.study.machinecode import program_records
    from tramposim.study.program import program_images, read_source, record_images

    if as_hex and format_name != "text":
        raise click.UsageError("--hex prints text: it takes no --format")
    if is_record_spec(spec) and not Path(spec).is_file():
        for name in _SOURCE_ONLY:
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"a record says itself what '{name}' would choose")
        built = list(record_images(spec))
        about = {"record": spec, "arch": built[0][1][0].arch.value}
    else:
        kernel = kernel_of(arch, version)
        programs = read_source(Path(spec), btf=btf, include=include, version=kernel.version)
        built = list(program_images(kernel, programs))
        about = {"source": Path(spec).name, "arch": kernel.arch.value, "kernel": kernel.version}
    if format_name != "text":
        write_result(exported(program_records(built, about), format_name), output)
        return
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
