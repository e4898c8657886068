"""`tramposim doctor`: can this installation do its work?"""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
Example:
  tramposim doctor"""
)
def doctor() -> int:
    """Check libraries, native modules, guest runtime and one traced call per architecture.

    Optional things that are missing (a BPF compiler) are reported and are no failure.
    """
    from tramposim.study.doctor import examine

    failed = 0
    for finding in examine():
        mark = "ok  " if finding.ok else ("FAIL" if finding.required else "none")
        failed += finding.required and not finding.ok
        click.echo(f"{mark} {finding.what}: {finding.detail}")
    return 1 if failed else 0
