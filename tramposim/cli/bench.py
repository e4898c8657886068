"""`tramposim bench`: the rows of the kernel's bench trig-*."""

from __future__ import annotations

import click

from tramposim.cli.options import (
    arch_option,
    core_option,
    entry_option,
    format_option,
    kernel_option,
    output_option,
    returns_option,
)

__all__ = ["bench"]


@click.command(
    epilog="""\b
Examples:
  tramposim bench
  tramposim bench trig-fsession --format bench -v
  tramposim bench trig-fentry trig-fentry-fexit trig-fsession --format result
  tramposim bench --arch arm64 -p 4 -d 10"""
)
@click.argument("rows", metavar="[ROWS]", nargs=-1)
@arch_option(both=False)
@kernel_option()
@core_option(both=False)
@entry_option()
@returns_option()
@click.option("-l", "--list", "listed", is_flag=True, help="List available benchmarks.")
@click.option("-d", "--duration", type=int, default=5, show_default=True, metavar="SEC",
              help="Duration of benchmark, simulated seconds.")  # fmt: skip
@click.option("-w", "--warmup", type=int, default=1, show_default=True, metavar="SEC",
              help="Warm-up period, simulated seconds.")  # fmt: skip
@click.option("-p", "--producers", type=int, default=1, show_default=True, metavar="NUM",
              help="Number of producers, each on a CPU of its own.")  # fmt: skip
@click.option("-a", "--affinity", is_flag=True, help="Accepted: producers are always pinned.")
@click.option("-v", "--verbose", is_flag=True, help="Also print every second (--format bench).")
@format_option("table", "bench", "result", "json", "csv")
@output_option()
def bench(
    rows: tuple[str, ...],
    arch: str,
    version: str,
    core_name: str | None,
    entry: str | None,
    returns: str | None,
    listed: bool,
    duration: int,
    warmup: int,
    producers: int,
    affinity: bool,
    verbose: bool,
    format_name: str,
    output: str,
) -> None:
    """Call rates of traced functions, in rows and formats of the kernel's bench.

    ROWS are benchmarks (-l lists them; default: all). `--format bench` prints the kernel's
    Summary line, `--format result` its RESULT line in nanoseconds per call. Time is simulated
    at the clock of the core model.
    """
    from tramposim.cli.progress import progress
    from tramposim.report.bench import bench_lines, bench_table, result_lines
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.study.bench import BENCHES, BenchSetup, bench_records
    from tramposim.study.bench import bench as run
    from tramposim.study.kernels import kernel_of
    from tramposim.study.records import encode_records
    from tramposim.study.subject import cores_of

    if listed:
        write_result("Available benchmarks:\n" + "".join(f"- {name}\n" for name in BENCHES), output)
        return
    setup = BenchSetup(duration, warmup, producers)
    kernel = kernel_of(arch, version, entry, returns)
    core = cores_of([arch], [core_name] if core_name else [])[arch]
    results = []
    with progress("bench") as step:
        for name in rows or BENCHES:
            step(name)
            results.append(run(name, kernel, core, setup))
    records = bench_records(results)
    write_result(
        {
            "table": lambda: bench_table(records, output),
            "bench": lambda: bench_lines(results, verbose),
            "result": lambda: result_lines(records),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
        }[format_name](),
        output,
    )
