"""`tramposim doctor`: can this installation do its work?"""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
Example:
  tramposim doctor"""
)
def doctor() -> int:
    """Check libraries, native modules, guest runtime and one traced call per architecture."""
    from tramposim.study.doctor import examine

    failed = 0
    for finding in examine():
        failed += not finding.ok
        click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.detail}")
    return 1 if failed else 0
