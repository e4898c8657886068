"""`tramposim capture`: the images of traced functions, read from the running kernel."""

from __future__ import annotations

import click

from tramposim.cli.options import output_option

__all__ = ["capture"]


@click.command(
    epilog="""\b
Examples (as root, while a BPF program traces the function):
  tramposim capture tcp_v4_rcv -o tcp_v4_rcv.jsonl.xz
  tramposim capture -o all.jsonl.xz
  tramposim verify tcp_v4_rcv.jsonl.xz
  tramposim replay tcp_v4_rcv.jsonl.xz"""
)
@click.argument("functions", nargs=-1, metavar="[FUNCTION...]")
@output_option()
def capture(functions: tuple[str, ...], output: str) -> None:
    """Write the trampoline images of traced FUNCTIONs, as this kernel made them.

    Reads /proc/kallsyms, /proc/kcore, /sys/kernel/btf/vmlinux and, through bpf(2), the loaded
    programs; changes nothing. Without FUNCTION all functions that tracing links trace are
    captured. The file holds image, programs, the function's entry and the kernel's functions
    around them, and is read by verify, validate, replay, image and jit; it is compressed if
    its name ends in .xz. Needs root.
    """
    import json
    import lzma

    from tramposim.capture.assemble import capture_records
    from tramposim.capture.live import live_view, traced_functions
    from tramposim.report.output import write_result

    view = live_view()
    wanted = functions or tuple(traced_functions())
    records = list(capture_records(view, wanted))
    data = "".join(f"{json.dumps(record, separators=(',', ':'))}\n" for record in records).encode()
    write_result(lzma.compress(data) if output.endswith(".xz") else data, output)
    kinds = [record["rec"] for record in records]
    click.echo(
        f"capture: {kinds.count('case')} images, {kinds.count('func')} functions of the kernel "
        f"({records[0]['arch']} {records[0]['kernel']})",
        err=True,
    )
