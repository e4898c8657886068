"""`tramposim doctor`: can this installation do its work?"""

from __future__ import annotations

import click

from tramposim.cli.options import format_option, output_option


@click.command(
    epilog="""\b
Examples:
  tramposim doctor
  tramposim doctor --format json -o doctor.json"""
)
@format_option("text", "json", "csv", "md")
@output_option()
def doctor(format_name: str, output: str) -> int:
    """Check libraries, native modules, guest runtime and one traced call per architecture.

    Exits with 1 if anything failed.
    """
    from tramposim.report.checks import findings_text
    from tramposim.report.output import write_result
    from tramposim.study.doctor import doctor_records, examine

    records = doctor_records(examine())
    if format_name == "text":
        write_result(findings_text(records), output)
    else:
        from tramposim.report.kinds import exported

        write_result(exported(records, format_name), output)
    return 1 if records.meta["failed"] else 0
