"""`tramposim verify`: rebuild captured images and programs and compare every byte."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["verify"]


@click.command(
    epilog="""\b
Examples:
  tramposim verify capture.jsonl.xz
  tramposim verify captures/*.jsonl.xz | tail -1"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=Path)
@click.pass_context
def verify(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """Rebuild every trampoline and program of capture FILEs and compare the bytes.

    Each failure is a line with file, id, offset and both byte strings around it; the last
    line is `N passed, N failed`. Exits with 1 if anything failed.
    """
    from tramposim.study.verify import verify_capture

    passed = failed = 0
    for path in files:
        for check in verify_capture(path):
            if check.problem:
                failed += 1
                click.echo(check.line)
            else:
                passed += 1
    click.echo(f"{passed} passed, {failed} failed")
    if failed:
        ctx.exit(1)
