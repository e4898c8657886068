"""Loads with given costs against arithmetic: what the rows say follows from rate and cycles."""

import json
import math
from pathlib import Path

import msgspec
import pytest

from tramposim.spec import Arch
from tramposim.study.load import MeteredCall, load
from tramposim.study.records import Value, encode_records
from tramposim.study.workload import Changes, change_workload, read_workload
from tramposim.study.workload_schema import Functions, Workload

WORKLOADS = Path(__file__).parents[2] / "workloads"

# cycles per call on hardware (facts: Golden Cove, plain returns, jmp entry), bodies empty
CYCLES = {
    "untraced": 3.0, "fentry": 28.3, "fexit": 49.2, "fentry+fexit": 72.1, "fsession": 68.5,
    "fsession+cookie": 75.1,
}  # fmt: skip


class GivenCalls:
    arch = Arch.X86_64
    clock_ghz = 3.0

    def call(self, scenario: str, body: str) -> MeteredCall:
        return MeteredCall(CYCLES[scenario], {"core": "given", "kernel": "7.2"})


def hot(chosen: Workload) -> Workload:
    """The workload with every call hot, of one function, with no interrupts or other tasks."""
    return msgspec.structs.replace(
        chosen, background=None, functions=Functions(), interrupts=(), competing=()
    )


def workload(name: str = "icmp_rcv", **changes: object) -> Workload:
    scenarios = ("untraced", "fentry+fexit", "fsession")
    return change_workload(
        hot(read_workload(WORKLOADS / f"{name}.toml")),
        Changes(**{"scenarios": scenarios, **changes}),  # type: ignore[arg-type]
    )


def rows(chosen: Workload, runs: int = 1) -> dict[str, dict[str, Value]]:
    return {
        str(row["scenario"]): dict(row) for row in load([chosen], [GivenCalls()], runs=runs).rows
    }


def test_added_cpu_share_is_rate_times_added_cycles() -> None:
    found = rows(workload(rate="100k", cpus=2))
    for scenario in ("untraced", "fentry+fexit", "fsession"):
        row, over = found[scenario], CYCLES[scenario] - CYCLES["untraced"]
        calls = row["calls"]
        assert calls == pytest.approx(200_000, abs=4 * math.sqrt(200_000))
        share = 100 * calls * over / 3e9
        assert row["added_percent_of_one_cpu"] == pytest.approx(share, rel=1e-4, abs=1e-9)
        assert row["added_percent_of_all_cpus"] == pytest.approx(share / 2, rel=1e-4, abs=1e-9)
        busy = 100 * calls * (CYCLES[scenario] + 4000) / 3e9 / 2
        assert row["utilisation_percent"] == pytest.approx(busy, rel=1e-4)
        assert row["saturated"] is False
        assert row["saturation_calls_per_s"] == pytest.approx(2 * 3e9 / (4000 + CYCLES[scenario]))


def test_scenarios_see_the_same_arrivals() -> None:
    assert len({row["calls"] for row in rows(workload(rate="20k")).values()}) == 1


def test_latency_is_never_below_the_service_time() -> None:
    row = rows(workload())["fsession"]
    service = (4000 + CYCLES["fsession"]) / 3
    assert row["latency_p50_ns"] >= service - 0.01
    ordered = [row[f"latency_{name}_ns"] for name in ("p50", "p90", "p99", "p99_9", "p99_99")]
    assert ordered == sorted(ordered)
    assert ordered[-1] <= row["latency_max_ns"]


def test_the_bench_loop_gives_the_throughput_of_one_cpu() -> None:
    for scenario, row in rows(workload("bench")).items():
        assert row["calls_per_s"] == pytest.approx(3e9 / CYCLES[scenario], rel=1e-4)
        assert row["offered_calls_per_s"] is None
        assert row["utilisation_percent"] == pytest.approx(100, abs=1e-3)


def test_overload_is_said() -> None:
    row = rows(workload(rate="2M", cpus=1, duration="20ms"))["fsession"]
    assert row["saturated"] is True
    assert row["calls_per_s"] == pytest.approx(row["saturation_calls_per_s"], rel=1e-3)
    assert row["behind_s"] > 0.01


def test_runs_give_intervals_that_hold_the_truth() -> None:
    row = rows(workload(rate="100k", cpus=1, duration="100ms"), runs=20)["fentry+fexit"]
    share = 100 * 100_000 * (72.1 - 3.0) / 3e9
    assert row["runs"] == 20
    assert abs(row["added_percent_of_one_cpu"] - share) < 2 * row["added_percent_of_one_cpu_ci95"]
    assert row["added_percent_of_one_cpu_ci95"] < 0.01 * share


def test_the_same_seed_gives_the_same_bytes() -> None:
    def text(seed: int) -> str:
        return encode_records(load([workload(seed=seed, duration="50ms")], [GivenCalls()]))

    assert text(1) == text(1)
    assert text(1) != text(2)
    assert json.loads(text(1))["schema"] == "tramposim.result/1"


def test_a_stop_keeps_what_there_is() -> None:
    def until(share: float) -> list[str]:
        seen: list[float] = []

        def progress(what: str, done: float) -> bool:
            seen.append(done)
            return done < share

        records = load([workload(duration="50ms")], [GivenCalls()], progress=progress)
        assert records.meta["complete"] is False
        assert records.rows[-1]["simulated_s"] == pytest.approx(0.025, rel=0.02)
        assert seen == sorted(seen)
        return [str(row["scenario"]) for row in records.rows]

    assert until(0.5 / 3) == ["untraced"]
    assert until(2.5 / 3) == ["untraced", "fentry+fexit", "fsession"]


@pytest.mark.parametrize("path", sorted(WORKLOADS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_workload_says_what_it_is_and_runs(path: Path) -> None:
    chosen = read_workload(path)
    about = chosen.workload
    assert about.name == path.stem
    assert len(about.models) > 80
    assert len(about.source) > 80
    found = load([change_workload(hot(chosen), Changes(duration="10ms"))], [GivenCalls()])
    assert len(found.rows) == len(chosen.run.scenarios)


def test_variants_make_a_curve_over_the_rate() -> None:
    class Counting(GivenCalls):
        calls = 0

        def call(self, scenario: str, body: str) -> MeteredCall:
            Counting.calls += 1
            return super().call(scenario, body)

    variants = [workload(rate=rate, cpus=1, duration="50ms") for rate in ("1k", "10k", "2M")]
    found = load(variants, [Counting()]).rows
    assert [row["offered_calls_per_s"] for row in found] == [1e3] * 3 + [1e4] * 3 + [2e6] * 3
    added = [row["added_percent_of_one_cpu"] for row in found if row["scenario"] == "fsession"]
    assert added == sorted(added)
    assert [row["saturated"] for row in found] == [False] * 6 + [True] * 3
    assert Counting.calls == 3
