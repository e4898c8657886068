"""`tramposim cores`: the core models, every parameter with its source, and the measured error."""

from __future__ import annotations

import click

from tramposim.timing.core import Core, core_names, load_core

__all__ = ["cores"]


@click.command(
    epilog="""\b
Examples:
  tramposim cores
  tramposim cores golden-cove"""
)
@click.argument("name", required=False, metavar="[NAME]")
def cores(name: str | None) -> None:
    """List the core models, or print every parameter of core NAME with its source."""
    if name is None:
        for each in core_names():
            core = load_core(each)
            click.echo(f"{each:16} {core.arch.value:7} {core.title}; error: {core.error}")
        return
    for line in _describe(load_core(name)):
        click.echo(line)


def _describe(core: Core) -> list[str]:
    lines = [
        f"{core.name}: {core.title}",
        f"architecture {core.arch.value}, clock {core.clock_ghz} GHz",
        f"measured error: {core.error}",
        "",
    ]
    section = ""
    for group, name, parameter in core.parameters():
        if group != section:
            lines.append(f"[{group}]")
            section = group
        value = str(parameter.value).lower()
        lines.append(f"  {name:26} {value:>6}  {parameter.confidence:8} {parameter.source}")
    lines.append("[classes]")
    for name, data in core.classes.items():
        latency = "l1" if data.latency == 0 else str(data.latency)
        shape = (
            f"latency {latency:>3}  uops {data.uops:2}  busy {data.occupancy:2}  ports {data.ports}"
        )
        lines.append(f"  {name:26} {shape:56} {data.confidence:8} {data.source}")
    lines.append("[sources]")
    lines += [f"  {key:10} {text}" for key, text in core.sources.items()]
    return lines
