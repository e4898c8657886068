"""What CPUs share: lines that calls write, hash buckets, the last-level cache."""

from __future__ import annotations

import pytest
from support.workloads import workload_text

from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Attachment, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.load import load
from tramposim.study.meter import meters_of
from tramposim.study.scenario import parse_scenario
from tramposim.study.sharing import shared_lines
from tramposim.study.workload import parse_workload
from tramposim.timing import load_core
from tramposim.timing.calls import CallTimer
from tramposim.timing.footprint import footprint_of


def row(
    scenario: str = "fsession:count",
    *,
    cpus: int = 4,
    rate: str = "50k",
    footprint: str = "8MiB",
    duration: str = "20ms",
    machine: str = "",
) -> dict[str, float]:
    text = workload_text(
        scenario, cpus=cpus, rate=rate, footprint=footprint, duration=duration, machine=machine
    )
    workload = parse_workload(text, "t")
    (found,) = load([workload], meters_of(workload)).rows
    return {name: value for name, value in found.items() if isinstance(value, float | int)}


@pytest.mark.parametrize(
    ("scenario", "body", "lines"),
    [
        ("fentry+fexit", "latency-hash", (1, 1)),  # the histogram, a bucket
        ("fentry+fexit", "latency-stack", (1, 0)),  # an entry that stays is only looked up
        ("fsession+cookie", "latency-cookie", (1, 0)),
        ("fentry+fexit", "count", (0, 0)),  # per-CPU counters
    ],
)
@pytest.mark.parametrize("arch", list(Arch))
def test_the_lines_that_other_cpus_write(
    arch: Arch, scenario: str, body: str, lines: tuple[int, int]
) -> None:
    programs = programs_of(parse_scenario(scenario), body)
    prototype = parse_prototype("int icmp_rcv(struct sk_buff *skb)")
    world = TracedWorld(Kernel(arch), prototype, [Attachment(program) for program in programs])
    world.run(4, trace=False)
    trace = world.run(16).trace
    assert trace is not None
    core = load_core("golden-cove" if arch is Arch.X86_64 else "neoverse-n1")
    footprint = footprint_of(CallTimer(trace, core).prepared, trace.pages, 8)
    shared = shared_lines(world, footprint)
    assert tuple(map(len, shared.by_group)) == (*lines, 0)
    # 1024 buckets of 16 bytes
    assert shared.bucket_lines == (256 if lines[1] else 0)
    # a thread that moves leaves its stack and task behind
    assert len(shared_lines(world, footprint, migrating=True).by_group[2]) > 2


def test_more_cpus_take_more_lines_from_each_other() -> None:
    one, two, many = (
        row("fentry+fexit:latency-hash", cpus=cpus, duration="10ms") for cpus in (1, 2, 64)
    )
    assert one["transfers_per_call"] == 0
    # the histogram's line: another CPU has written it since with the chance 1/2
    assert two["transfers_per_call"] == pytest.approx(0.5, abs=0.06)
    # that line nearly always, and of 63 other threads' buckets about a quarter share a line
    assert 1.0 < many["transfers_per_call"] < 1.4
    assert one["cycles_per_call"] < two["cycles_per_call"] < many["cycles_per_call"]
    for cpus in (1, 64):
        assert row("fentry+fexit:count", cpus=cpus, duration="5ms")["transfers_per_call"] == 0


def test_a_line_that_all_want_limits_the_throughput() -> None:
    def closed(cpus: int) -> float:
        text = workload_text(
            "fsession+cookie:latency-cookie",
            rate=None,
            duration="10ms",
            cpus=cpus,
            work_cycles=0,
            footprint="1MiB",
        )
        workload = parse_workload(text, "t")
        (found,) = load([workload], meters_of(workload)).rows
        return float(str(found["calls_per_s"]))

    alone, many = closed(1), closed(64)
    transfer = float(load_core("golden-cove").caches.remote_latency.value)
    # one line goes from CPU to CPU: not more often than transfers follow each other
    assert many < 1.1 * 3e9 / transfer
    assert many < 16 * alone


def test_cpus_share_the_capacity_of_the_last_level() -> None:
    def of(footprint: str, llc: int) -> float:
        found = row(
            rate="200", cpus=4, footprint=footprint, duration="1s", machine=f"llc_cpus = {llc}"
        )
        return found["l3_misses_per_call"]

    # 60 MiB: four working sets of 8 MiB fit, of 32 MiB only one does
    assert of("8MiB", 4) == pytest.approx(of("8MiB", 1), abs=1.0)
    assert of("32MiB", 4) > of("32MiB", 1) + 2


def test_threads_that_move_fetch_their_lines() -> None:
    machine = (
        "pinned = false\ntick_hz = 1000\n\n[[tasks]]\nname = 'b'\ncycles = 1e6\nyields = false"
    )
    busy = row(cpus=2, rate="20k", machine=machine.replace("cycles", "count = 1\ncycles"))
    assert 0 < busy["transfers_per_call"] < 5
    assert row(cpus=2, rate="20k")["transfers_per_call"] == 0
