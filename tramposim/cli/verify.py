"""`tramposim verify`: rebuild captured images and programs; compare bytes or observations."""

from __future__ import annotations

from pathlib import Path

import click

from tramposim.cli.options import format_option, output_option

__all__ = ["verify"]


@click.command(
    epilog="""\b
Examples:
  tramposim verify capture.jsonl.xz
  tramposim verify captures/*.jsonl.xz | tail -1
  tramposim verify --observe capture.jsonl.xz
  tramposim verify capture.jsonl.xz --format json -o verify.json"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=Path)
@click.option("--observe", is_flag=True, help="Execute instead, and compare what programs saw.")
@format_option("text", "json", "csv", "md")
@output_option()
def verify(files: tuple[Path, ...], observe: bool, format_name: str, output: str) -> int:
    """Rebuild every trampoline and program of capture FILEs and compare the bytes.

    Each failure is a line with file, id, offset and both byte strings around it; the last
    line is `N passed, N failed`. Exits with 1 if anything failed. JSON and CSV have a row per
    check.

    With --observe a check is a record with observed values: its image and programs are built
    from the recorded inputs and executed as BPF_PROG_TEST_RUN calls them, and what the
    programs saw is compared with what the kernel's programs saw.
    """
    from tramposim.report.kinds import exported
    from tramposim.report.output import write_result
    from tramposim.study.verify import checks_records

    if observe:
        from tramposim.study.observe import observe_capture as check_capture
    else:
        from tramposim.study.verify import verify_capture as check_capture

    checks = (check for path in files for check in check_capture(path))
    if format_name != "text":
        records = checks_records(checks, observe)
        write_result(exported(records, format_name), output)
        return 1 if records.meta["failed"] else 0
    passed = failed = 0
    lines = []
    for check in checks:
        passed += not check.problem
        failed += bool(check.problem)
        if check.problem and output == "-":
            click.echo(check.line)
        elif check.problem:
            lines.append(check.line)
    write_result("\n".join([*lines, f"{passed} passed, {failed} failed\n"]), output)
    return 1 if failed else 0
