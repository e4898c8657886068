"""What a reader of a load sees: numbers, units, basis, and the verdict."""

from pathlib import Path

import msgspec
import pytest

from tramposim.report.load import load_markdown, load_text
from tramposim.spec import Arch
from tramposim.study.load import MeteredCall, load
from tramposim.study.records import Records
from tramposim.study.workload import Changes, change_workload, read_workload
from tramposim.study.workload_schema import Workload

WORKLOAD = Path(__file__).parents[2] / "workloads" / "icmp_rcv.toml"
CYCLES = {"count": 72.0, "latency-hash": 445.0, "latency-cookie": 210.0}


def hot(workload: Workload) -> Workload:
    """The workload with every call hot."""
    return msgspec.structs.replace(workload, background=None)


class GivenCalls:
    arch = Arch.ARM64
    clock_ghz = 2.0

    def call(self, scenario: str, body: str) -> MeteredCall:
        cycles = 4.0 if scenario == "untraced" else CYCLES[body] - 5 * (scenario == "fsession")
        return MeteredCall(cycles, {"core": "given", "core_error": "none", "kernel": "7.2"})


def records(rate: str = "50k", runs: int = 1, **changes: object) -> Records:
    workload = change_workload(
        hot(read_workload(WORKLOAD)),
        Changes(rate=rate, duration="20ms", **changes),  # type: ignore[arg-type]
    )
    return load([workload], [GivenCalls()], runs=runs)


def test_the_table_says_on_what_basis() -> None:
    text = load_text(records())
    assert "icmp_rcv on arm64, kernel 7.2: 200k calls/s (poisson) to 4 CPUs at 2 GHz" in (text)
    flat = " ".join(text.split())
    assert "core given (model error: none); 4,000 cycles of work around each call" in flat
    assert "every call is timed hot" in flat
    assert "seed 1." in flat
    assert "…" not in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_verdict_compares_one_session_with_the_pair() -> None:
    flat = " ".join(load_text(records()).split())
    assert "count: one fsession instead of fentry+fexit saves 5.0 cycles per call, 0.0" in flat
    assert (
        "one fsession+cookie (latency-cookie) instead of fentry+fexit (latency-hash) saves 235.0 "
        "cycles per call, 2." in flat
    )
    assert "count: one fsession+cookie instead of fentry+fexit costs the same." in flat


def test_saturation_is_told_and_compared_by_throughput() -> None:
    flat = " ".join(load_text(records(rate="2M")).split())
    assert "fsession (count) saturates the CPUs: its latencies grow with the duration" in flat
    assert "saves 5.0 cycles per call, 0.12 % more calls per second" in flat


def test_intervals_stand_beside_their_mean() -> None:
    text = load_text(records(runs=3))
    assert "±" in text
    assert "3 runs with the following seeds; ± is the 95 % interval" in " ".join(text.split())
    assert "…" not in text


def test_markdown_has_the_same_rows() -> None:
    text = load_markdown(records(scenarios=("untraced", "fentry+fexit", "fsession")))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({line.count("|") for line in table}) == 1


def test_a_load_that_was_cut_short_says_so() -> None:
    workload = change_workload(hot(read_workload(WORKLOAD)), Changes(duration="20ms"))
    found = load([workload], [GivenCalls()], progress=lambda what, done: done < 0.5)
    assert "INTERRUPTED" in load_text(found)
    nothing = load([workload], [GivenCalls()], progress=lambda what, done: False)
    assert "INTERRUPTED" in load_text(nothing)


@pytest.mark.parametrize("kind", ["closed-loop", "replay"])
def test_arrivals_without_a_rate_are_named(kind: str, tmp_path: Path) -> None:
    keys = "times = [0.0, 0.001]" if kind == "replay" else ""
    path = tmp_path / "x.toml"
    path.write_text(
        WORKLOAD.read_text()
        .replace('kind = "poisson"', f'kind = "{kind}"')
        .replace('rate = "50k/s"', keys)
    )
    workload = change_workload(hot(read_workload(path)), Changes(duration="2ms"))
    said = {"closed-loop": "at full speed", "replay": "at recorded times"}[kind]
    assert said in load_text(load([workload], [GivenCalls()]))
