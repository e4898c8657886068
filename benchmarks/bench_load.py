"""Speed and memory of `load`: calls simulated per second, and a large machine.

Run `python benchmarks/bench_load.py`; it prints one line per world with calls per second of CPU
time and the peak resident memory of the process so far.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from tramposim.schedule.arrivals import Arrivals, ClosedLoop, OnOff, Pareto, Periodic, Poisson
from tramposim.schedule.clock import Clock
from tramposim.schedule.cost import CallCost, FixedCosts
from tramposim.schedule.simulate import simulate
from tramposim.schedule.world import Flow, Task, World
from tramposim.spec import Arch
from tramposim.study.load import load
from tramposim.study.meter import meters_of
from tramposim.study.workload import Changes, change_workload, find_workload, read_workload

CLOCK = Clock(3e9)
COSTS = FixedCosts({"f": CallCost(3.0, 72.1)})


def measure(
    name: str, arrivals: Arrivals, cpus: int, duration_s: float, tasks_per_cpu: int = 1
) -> None:
    flow = Flow("f", arrivals, work_cycles=1000)
    tasks = tuple(Task((flow,), index % cpus) for index in range(cpus * tasks_per_cpu))
    world = World(CLOCK, cpus, tasks, duration_s)
    started = time.process_time()
    (result,) = simulate(world, COSTS).flows
    seconds = time.process_time() - started
    _print(name, result.calls, seconds)


def _print(name: str, calls: int, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:28} {calls:>12,} calls in {seconds:6.2f} s = "
        f"{calls / seconds / 1e6:6.1f} M calls/s, peak {peak:.0f} MB"
    )


def measure_workload(name: str, **changes: Any) -> None:
    """A shipped workload whose calls cost what they find, measuring their costs included."""
    workload = change_workload(
        read_workload(find_workload(name)), Changes(archs=(Arch.X86_64,), **changes)
    )
    meters = meters_of(workload)
    started = time.process_time()
    (row,) = load([workload], meters).rows
    seconds = time.process_time() - started
    calls = int(str(row["calls"])) * workload.population.calls
    _print(f"{name}, {workload.machine.cpus} CPUs", calls, seconds)


def main() -> None:
    measure("periodic, 1 CPU", Periodic(1e6), 1, 10.0)
    measure("Poisson, 1 CPU", Poisson(1e6), 1, 10.0)
    measure("on-off, 1 CPU", OnOff(1e6, 1e-3, 1e-3), 1, 10.0)
    measure("Pareto, 1 CPU", Pareto(1e6), 1, 10.0)
    measure("closed loop, 1 CPU", ClosedLoop(), 1, 10.0)
    measure("Poisson, overloaded", Poisson(1e8), 1, 10.0)
    measure("Poisson, 4 tasks on 1 CPU", Poisson(250e3), 1, 2.0, tasks_per_cpu=4)
    measure("Poisson 10/s, 64 CPUs", Poisson(10), 64, 1.0)
    measure("Poisson 1 M/s, 64 CPUs", Poisson(1e6), 64, 1.0)
    many = {"cpus": 64, "rate": "1M", "duration": "1s"}
    measure_workload("icmp_rcv", scenarios=("fsession:count",), **many)
    measure_workload("icmp_rcv", scenarios=("fentry+fexit:latency-hash",), **many)
    measure_workload("fgraph_large", scenarios=("fsession:count",))


if __name__ == "__main__":
    main()
