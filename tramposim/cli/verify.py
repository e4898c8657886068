"""`tramposim verify`: rebuild captured images and programs; compare bytes or observations."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["verify"]


@click.command(
    epilog="""\b
Examples:
  tramposim verify capture.jsonl.xz
  tramposim verify captures/*.jsonl.xz | tail -1
  tramposim verify --observe capture.jsonl.xz"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=Path)
@click.option("--observe", is_flag=True, help="Execute instead, and compare what programs saw.")
@click.pass_context
def verify(ctx: click.Context, files: tuple[Path, ...], observe: bool) -> None:
    """Rebuild every trampoline and program of capture FILEs and compare the bytes.

    Each failure is a line with file, id, offset and both byte strings around it; the last
    line is `N passed, N failed`. Exits with 1 if anything failed.

    With --observe a check is a record with observed values: its image and programs are built
    from the recorded inputs and executed as BPF_PROG_TEST_RUN calls them, and what the
    programs saw is compared with what the kernel's programs saw.
    """
    if observe:
        from tramposim.study.observe import observe_capture as check_capture
    else:
        from tramposim.study.verify import verify_capture as check_capture

    passed = failed = 0
    for path in files:
        for check in check_capture(path):
            if check.problem:
                failed += 1
                click.echo(check.line)
            else:
                passed += 1
    click.echo(f"{passed} passed, {failed} failed")
    if failed:
        ctx.exit(1)
