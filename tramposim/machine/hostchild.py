"""The process that runs code natively: reads a job, maps it, runs and times its stubs.

It is a process of its own because the code that it runs may do anything, and because the
addresses that the code was linked for must be free. It imports next to nothing.
"""

from __future__ import annotations

import os
import sys
from math import inf
from mmap import PAGESIZE

import msgspec

from tramposim._native import hostcpu

__all__ = ["Job", "Samples", "main"]

_SAME = 0.02
"""Two chains that differ by more had different clocks, or one was interrupted."""


class Job(msgspec.Struct, frozen=True):
    """What to map and run.

    `pages`: (address, permissions, bytes) of whole pages. Up to `provided` other pages are
    there as soon as they are touched, all the same physical one, filled with the 8 bytes of
    `fill` before each timed stub.
    `percpu` is the per-CPU base, 0 for none. `timed` are the stubs whose ticks are wanted;
    `probe` runs before and after each, as does `chain`, which takes `chain_cycles` core cycles.
    Sampling ends when every stub has `samples` samples whose probes took less than `slow`
    times the fastest probe (or `idle` core cycles, if that is less), or after `most` samples
    each.
    """

    pages: list[tuple[int, int, bytes]]
    provided: int
    fill: int
    percpu: int
    timed: list[int]
    probe: int
    chain: int
    chain_cycles: int
    samples: int
    most: int
    slow: float
    idle: float


class Samples(msgspec.Struct, frozen=True):
    """Per timed stub, one entry per sample: core cycles, and those of the slower probe.

    A probe is infinite where the two chains beside it disagree: something came between.
    `counted`: whether the cycles were counted (perf events) instead of scaled from ticks.
    """

    cycles: list[list[float]]
    probes: list[list[float]]
    counted: bool


def main() -> None:
    """Read a job from standard input, write samples to standard output (msgpack)."""
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    hostcpu.catch_faults()
    for address, permissions, data in job.pages:
        hostcpu.map_memory(address, data, permissions)
    page = os.memfd_create("page") if job.provided else -1
    content = job.fill.to_bytes(8, "little") * (PAGESIZE // 8)
    if job.provided:
        hostcpu.provide_pages(page, job.provided)
    if job.percpu:
        hostcpu.set_percpu_base(job.percpu)
    counter = hostcpu.open_cycle_counter()
    cycles: list[list[float]] = [[] for _ in job.timed]
    probes: list[list[float]] = [[] for _ in job.timed]
    fastest = hostcpu.call(job.chain)
    for done in range(job.most):
        if done >= job.samples and _enough(job, probes, job.idle * fastest / job.chain_cycles):
            break
        for index, entry in enumerate(job.timed):
            if job.provided:
                os.pwrite(page, content, 0)
            hostcpu.call(entry)
            if job.provided:
                os.pwrite(page, content, 0)
            before = hostcpu.call(job.probe)
            chain = hostcpu.call(job.chain)
            if counter >= 0:
                taken = float(hostcpu.count(counter, entry))
                again = hostcpu.call(job.chain)
            else:
                ticks = hostcpu.call(entry)
                again = hostcpu.call(job.chain)
                taken = ticks * 2 * job.chain_cycles / max(chain + again, 1)
            slower = max(before, hostcpu.call(job.probe))
            same = abs(chain - again) <= _SAME * chain
            fastest = min(fastest, chain, again)
            probes[index].append(slower if same else inf)
            cycles[index].append(taken)
    scaled = [[probe * job.chain_cycles / fastest for probe in each] for each in probes]
    sys.stdout.buffer.write(msgspec.msgpack.encode(Samples(cycles, scaled, counter >= 0)))


def _enough(job: Job, probes: list[list[float]], idle: float) -> bool:
    """Whether enough probes are fast; `idle`: the ticks of one when the core is idle."""
    limit = min(idle, *(min(each) for each in probes)) * job.slow
    return all(sum(probe <= limit for probe in each) >= job.samples for each in probes)


if __name__ == "__main__":
    main()
