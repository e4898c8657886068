"""`tramposim sweep`: the same scenarios over many cores, kernels and knobs."""

from __future__ import annotations

import click

from tramposim.cli.options import (
    STATE_NAMES,
    arch_option,
    format_option,
    output_option,
    proto_option,
)
from tramposim.spec import Arch

__all__ = ["sweep"]

_SHOWN = (
    "cycles_over_untraced",
    "cycles_per_call",
    "over_pair_ratio",
    "added_percent_of_one_cpu",
    "instructions_per_call",
    "uops_per_call",
    "image_bytes",
)
"""Fields that `report.sweep` can show (not imported: --help stays fast)."""


@click.command(
    epilog="""\b
Examples:
  tramposim sweep
  tramposim sweep --arch x86_64 --core golden-cove --kernel 7.0 --kernel 7.2 --kernel 7.3
  tramposim sweep --arch x86_64 --returns plain --returns its --returns srso --core zen3
  tramposim sweep --core golden-cove --state hot --state cold-code --state cold --arch x86_64
  tramposim sweep --scenario fentry+fexit --scenario fsession --body empty --body count
  tramposim sweep --workload icmp_rcv --duration 50ms --scenario fentry+fexit --scenario fsession
  tramposim sweep --field over_pair_ratio --format csv -o sweep.csv"""
)
@arch_option(both=True)
@click.option("--core", "cores", multiple=True, metavar="NAME",
              help="Core model (may be given more than once).  [default: all]")  # fmt: skip
@click.option("--kernel", "kernels", multiple=True, metavar="VERSION", default=["7.2"],
              show_default=True, help="Kernel version (may be given more than once).")  # fmt: skip
@click.option("--entry", "entries", multiple=True, metavar="MODE",
              help="How the entry reaches the image (may be given more than once).")  # fmt: skip
@click.option("--returns", "returns", multiple=True, metavar="KIND",
              help="x86_64 return thunks (may be given more than once).")  # fmt: skip
@click.option("--scenario", "scenarios", multiple=True, metavar="WORDS",
              help="SCENARIO or SCENARIO:BODY, a column each, instead of the standard ones "
              "(may be given more than once).")  # fmt: skip
@click.option("--body", "bodies", multiple=True, metavar="NAME",
              help="What programs do where --scenario does not say (may be given more than "
              "once).  [default: empty]")  # fmt: skip
@click.option("--state", "states", multiple=True, type=click.Choice(STATE_NAMES),
              help="What a call finds (may be given more than once).  [default: hot]")  # fmt: skip
@proto_option()
@click.option("--workload", metavar="WORKLOAD",
              help="A file or a known name (see 'load'): its function, its scenarios, its call "
              "rate.")  # fmt: skip
@click.option("--duration", metavar="TIME",
              help="Simulated time of --workload, as 10ms or 2s.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), metavar="N",
              help="Processes that share the work.  [default: one per CPU]")  # fmt: skip
@click.option("--cluster", metavar="tcp://HOST:PORT",
              help="Dask scheduler whose workers share the work instead (needs the extra "
              "tramposim[cluster], the same version on every worker).")  # fmt: skip
@click.option("--field", type=click.Choice(_SHOWN), default=_SHOWN[0], show_default=True,
              help="What the cells of a table show; json and csv have all.")  # fmt: skip
@format_option("table", "json", "csv", "md")
@output_option()
def sweep(
    archs: tuple[str, ...],
    cores: tuple[str, ...],
    kernels: tuple[str, ...],
    entries: tuple[str, ...],
    returns: tuple[str, ...],
    scenarios: tuple[str, ...],
    bodies: tuple[str, ...],
    states: tuple[str, ...],
    proto: str | None,
    workload: str | None,
    duration: str | None,
    jobs: int | None,
    cluster: str | None,
    field: str,
    format_name: str,
    output: str,
) -> int:
    """The same scenarios over cores, kernels, ways to enter and return, and states.

    Every combination of the words given is measured: a line per machine, a column per
    scenario. With --workload calls come at its rate and cost what they find. A scenario that a
    kernel refuses is a cell that says so; the exit status is 3 if something in the grid is not
    known to the model.
    """
    from tramposim.cli.progress import progress
    from tramposim.report.export import records_csv
    from tramposim.report.output import write_result
    from tramposim.report.sweep import sweep_markdown, sweep_text
    from tramposim.study.records import encode_records
    from tramposim.study.subject import function_of
    from tramposim.study.sweep import SCENARIOS, Grid
    from tramposim.study.sweep import sweep as run
    from tramposim.study.sweepload import sweep_workload
    from tramposim.study.workload import (
        Changes,
        change_workload,
        find_workload,
        read_workload,
    )

    if cluster is not None and jobs is not None:
        raise click.UsageError("the workers of --cluster share the work: no --jobs")
    grid = Grid(
        archs=tuple(dict.fromkeys(map(Arch, archs))),
        cores=cores,
        kernels=kernels,
        entries=entries or (None,),
        returns=returns or (None,),
        scenarios=scenarios or SCENARIOS,
        bodies=bodies or ("empty",),
        states=states or ("hot",),
        prototype=function_of(proto),
    )
    if workload is None and duration is not None:
        raise click.UsageError("--duration is of a --workload")
    with progress("sweep") as step:
        if workload is None:
            records = run(grid, jobs, cluster, step)
        else:
            given = {"--body": bodies, "--state": states, "--proto": proto}
            if wrong := [name for name, value in given.items() if value]:
                raise click.UsageError(f"the workload says it: no {', '.join(wrong)}")
            changes = Changes(scenarios=scenarios, duration=duration)
            chosen = change_workload(read_workload(find_workload(workload)), changes)
            records = sweep_workload(chosen, grid, jobs, cluster, step)
    write_result(
        {
            "table": lambda: sweep_text(records, field, output),
            "json": lambda: encode_records(records),
            "csv": lambda: records_csv(records),
            "md": lambda: sweep_markdown(records, field),
        }[format_name](),
        output,
    )
    return 3 if any("error" in row for row in records.rows) else 0
