"""Speed and memory of `load`: calls simulated per second, and a large machine.

Run `python benchmarks/bench_load.py`; it prints one line per world with calls per second of
wall time and the peak resident memory of the process so far.
"""

from __future__ import annotations

import resource
import time

from tramposim.schedule.arrivals import Arrivals, ClosedLoop, OnOff, Pareto, Periodic, Poisson
from tramposim.schedule.clock import Clock
from tramposim.schedule.cost import CallCost, FixedCosts
from tramposim.schedule.simulate import simulate
from tramposim.schedule.world import Flow, Task, World

CLOCK = Clock(3e9)
COSTS = FixedCosts({"f": CallCost(3.0, 72.1)})


def measure(
    name: str, arrivals: Arrivals, cpus: int, duration_s: float, tasks_per_cpu: int = 1
) -> None:
    flow = Flow("f", arrivals, work_cycles=1000)
    tasks = tuple(Task((flow,), index % cpus) for index in range(cpus * tasks_per_cpu))
    world = World(CLOCK, cpus, tasks, duration_s)
    started = time.perf_counter()
    (result,) = simulate(world, COSTS).flows
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:28} {result.calls:>12,} calls in {seconds:6.2f} s = "
        f"{result.calls / seconds / 1e6:6.1f} M calls/s, peak {peak:.0f} MB"
    )


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


if __name__ == "__main__":
    main()
