"""The rows of the kernel's `bench trig-*`: how often a traced function can be called.

A producer calls the function back to back on a CPU of its own and every program counts its
calls, as the trigger benchmarks of tools/testing/selftests/bpf do; the system call that starts
each of their batches is not modelled. Producers share nothing, so that hits grow with them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from tramposim import __version__
from tramposim.errors import InputError
from tramposim.spec import Kernel
from tramposim.study.records import Records, Value
from tramposim.study.scenario import parse_scenario
from tramposim.study.staged import staged_calls
from tramposim.study.subject import Subject, function_of
from tramposim.timing import Core

__all__ = ["BENCHES", "BenchResult", "BenchSetup", "bench", "bench_records"]

_COUNTED = "int bpf_fentry_test1(int a)"
_MODIFIED = "int bpf_modify_return_test(int a, int *b)"

BENCHES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "trig-kernel-count": ("untraced", _COUNTED),
        "trig-fentry": ("fentry", _COUNTED),
        "trig-fexit": ("fexit", _COUNTED),
        "trig-fmodret": ("fmod_ret", _MODIFIED),
        "trig-fentry-fexit": ("fentry+fexit", _COUNTED),
        "trig-fsession": ("fsession", _COUNTED),
        "trig-fsession-cookie": ("fsession+cookie", _COUNTED),
    }
)
"""Row -> (scenario, traced function). The last three are ours, named as the kernel names its."""

_MOST_PRODUCERS = 8192


@dataclass(frozen=True, slots=True)
class BenchSetup:
    """Options as bench has them: seconds of measurement and of warm-up, and producers."""

    duration: int = 5
    warmup: int = 1
    producers: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.duration <= 3600 or not 0 <= self.warmup <= 3600:
            raise InputError("1 to 3600 seconds are measured after 0 to 3600 of warm-up")
        if not 1 <= self.producers <= _MOST_PRODUCERS:
            raise InputError(f"1 to {_MOST_PRODUCERS} producers, not {self.producers}")


@dataclass(frozen=True, slots=True)
class BenchResult:
    """One row: hits in every second, warm-up first, and the steady state's calls in ns.

    `clock_ghz` is the core model's clock, which turns cycles into time.
    """

    name: str
    subject: Subject
    core: Core
    setup: BenchSetup
    cycles_per_call: float
    hits: tuple[int, ...]
    samples_ns: tuple[float, ...]

    @property
    def measured(self) -> tuple[int, ...]:
        """Hits of the seconds after the warm-up."""
        return self.hits[self.setup.warmup :]


def bench(name: str, kernel: Kernel, core: Core, setup: BenchSetup) -> BenchResult:
    """Run one row; raises `InputError` for an unknown one, and what timing raises."""
    if name not in BENCHES:
        raise InputError(f"unknown benchmark {name!r}; there are: {', '.join(BENCHES)}")
    scenario, function = BENCHES[name]
    subject = Subject(kernel, function_of(function), parse_scenario(scenario), "count")
    staged = staged_calls(subject, core)
    cycles = staged.timing.cycles_per_call
    rate = core.clock_ghz * 1e9 / cycles
    done = [math.floor(rate * second) for second in range(setup.warmup + setup.duration + 1)]
    per_call = [
        np.diff(one.stages["retired"][np.array(one.marks[1 : len(one.calls) + 1]) - 1], prepend=0)
        for one in staged.timing.recordings
    ]
    return BenchResult(
        name=name,
        subject=subject,
        core=core,
        setup=setup,
        cycles_per_call=cycles,
        hits=tuple((after - before) * setup.producers for before, after in pairwise(done)),
        samples_ns=tuple(float(value) / core.clock_ghz for value in np.concatenate(per_call)),
    )


def bench_records(
    results: Iterable[BenchResult], progress: Callable[[str], None] = lambda text: None
) -> Records:
    """One row per benchmark."""
    rows: list[Mapping[str, Value]] = []
    for result in results:
        progress(result.name)
        rows.append(_row(result))
    return Records(
        meta={
            "command": "bench",
            "version": __version__,
            "state": "hot",
            "basis": "calls per second of simulated time at the core model's clock, hot",
        },
        rows=tuple(rows),
    )


def _row(result: BenchResult) -> Mapping[str, Value]:
    kernel = result.subject.kernel
    samples = sorted(result.samples_ns)
    mean = statistics.mean(samples)
    deviation = statistics.stdev(samples) if len(samples) > 1 else 0.0
    mean_hits, stddev_hits = _mean_and_deviation(result.measured)
    return {
        "benchmark": result.name,
        "arch": kernel.arch.value,
        "core": result.core.name,
        "core_error": result.core.error,
        "kernel": kernel.version,
        "returns": kernel.returns.value,
        "scenario": result.subject.scenario.word,
        "clock_ghz": result.core.clock_ghz,
        "producers": result.setup.producers,
        "cycles_per_call": round(result.cycles_per_call, 2),
        "mhits_per_second": round(mean_hits / 1e6, 6),
        "mhits_stddev": round(stddev_hits / 1e6, 6),
        "mhits_per_producer": round(mean_hits / 1e6 / result.setup.producers, 6),
        "samples": len(samples),
        "median_ns": round(statistics.median(samples), 3),
        "stddev_ns": round(deviation, 3),
        "cv_percent": round(100 * deviation / mean, 3) if mean else 0.0,
        "min_ns": round(samples[0], 3),
        "p99_ns": round(samples[math.ceil(0.99 * len(samples)) - 1], 3),
        "max_ns": round(samples[-1], 3),
    }


def _mean_and_deviation(hits: tuple[int, ...]) -> tuple[float, float]:
    return statistics.mean(hits), statistics.stdev(hits) if len(hits) > 1 else 0.0
