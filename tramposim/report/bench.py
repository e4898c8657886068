"""Benchmark rows in the words of the kernel's bench, so that scripts which parse it parse ours.

Formats: hits_drops_report_progress and hits_drops_report_final of
tools/testing/selftests/bpf/bench.c.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from tramposim.report.columns import Column
from tramposim.report.table import TextTable, render
from tramposim.study.bench import BenchResult
from tramposim.study.records import Records

__all__ = ["bench_lines", "bench_table", "result_lines"]

_COLUMNS = (
    Column("benchmark", "benchmark", text=True),
    Column("mhits_per_second", "M hits/s", decimals=3),
    Column("mhits_per_producer", "M/prod", decimals=3),
    Column("median_ns", "ns/call", decimals=2),
    Column("cycles_per_call", "cycles"),
    Column("relative", "of untraced", decimals=2),
)


def bench_lines(results: Iterable[BenchResult], verbose: bool = False) -> str:
    """`Summary:` lines, with `verbose` everything that bench prints before them."""
    lines: list[str] = []
    for result in results:
        if verbose:
            lines += [
                f"Setting up benchmark '{result.name}'...",
                f"Benchmark '{result.name}' started.",
                *(_progress(number, hits, result) for number, hits in enumerate(result.hits)),
            ]
        lines.append(_summary(result))
    return "\n".join(lines) + "\n"


def _progress(number: int, hits: int, result: BenchResult) -> str:
    rate = hits / 1e6
    producer = rate / result.setup.producers
    # Simulated seconds are exact: bench prints by how many microseconds its own are not.
    return (
        f"Iter {number:3d} ({0.0:7.3f}us): hits {rate:8.3f}M/s ({producer:7.3f}M/prod), "
        f"drops {0.0:8.3f}M/s, total operations {rate:8.3f}M/s"
    )


def _summary(result: BenchResult) -> str:
    rates = [hits / 1e6 for hits in result.measured]
    mean = statistics.mean(rates)
    deviation = statistics.stdev(rates) if len(rates) > 1 else 0.0
    return (
        f"Summary: hits {mean:8.3f} \u00b1 {deviation:5.3f}M/s "
        f"({mean / result.setup.producers:7.3f}M/prod), "
        f"drops {0.0:8.3f} \u00b1 {0.0:5.3f}M/s, "
        f"total operations {mean:8.3f} \u00b1 {deviation:5.3f}M/s"
    )


def result_lines(records: Records) -> str:
    """`RESULT` lines: nanoseconds per call over the steady state's calls."""
    return "".join(
        f"RESULT scenario={row['benchmark']} samples={row['samples']} "
        f"median={row['median_ns']:.2f} stddev={row['stddev_ns']:.2f} cv={row['cv_percent']:.2f}% "
        f"min={row['min_ns']:.2f} p99={row['p99_ns']:.2f} max={row['max_ns']:.2f}\n"
        for row in records.rows
    )


def bench_table(records: Records, output: str = "-") -> str:
    """All rows beside each other, with their share of the untraced rate."""
    base = next(
        (row["mhits_per_producer"] for row in records.rows if row["scenario"] == "untraced"), None
    )
    rows = [
        {**row, "relative": float(str(row["mhits_per_producer"])) / float(str(base))}
        if base
        else row
        for row in records.rows
    ]
    first = records.rows[0]
    title = (
        f"bench on {first['arch']}, kernel {first['kernel']}, {first['returns']} returns, "
        f"{first['producers']} producer(s), hot\n"
        f"core {first['core']} at {first['clock_ghz']} GHz (model error: {first['core_error']})"
    )
    return render(
        TextTable(_COLUMNS, rows, title),
        "Simulated time at the core model's clock; of untraced: of the rate without programs.",
        output=output,
    )
