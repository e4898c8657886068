"""Workload files of calls of icmp_rcv on x86_64 CPUs with a background."""

from __future__ import annotations

HEAD = """
[workload]
name = "t"
description = "d"
models = "m"
source = "s"
"""
"""What every workload says of itself."""


def workload_text(
    *scenarios: str,
    rate: str | None,
    duration: str,
    cpus: int = 1,
    work_cycles: int = 1000,
    lines_per_s: str = "40M",
    footprint: str = "8MiB",
    machine: str = "",
    more: str = "",
) -> str:
    """The file's text; without a rate CPUs call as fast as they can. `machine` are more lines of
    [machine], `more` more tables."""
    arrivals = 'kind = "closed-loop"' if rate is None else f'kind = "poisson"\nrate = "{rate}"'
    words = ", ".join(f'"{scenario}"' for scenario in scenarios)
    return f"""{HEAD}
[function]
prototype = "int icmp_rcv(struct sk_buff *skb)"
work_cycles = {work_cycles}
[arrivals]
{arrivals}
[machine]
cpus = {cpus}
arch = ["x86_64"]
{machine}
[background]
lines_per_s = "{lines_per_s}"
footprint = "{footprint}"
{more}
[run]
duration = "{duration}"
scenarios = [{words}]
"""
