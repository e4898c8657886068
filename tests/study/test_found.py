"""Calls that cost what they find, from the core model to the scheduler."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.workloads import workload_text

from tramposim._native.rng import Generator
from tramposim.spec import Arch, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.found import alias_tables
from tramposim.study.load import load
from tramposim.study.measure import attach_programs
from tramposim.study.meter import meters_of
from tramposim.study.records import Value
from tramposim.study.recursion import nested_costs
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import Subject, function_of
from tramposim.study.workload import Changes, change_workload, read_workload
from tramposim.timing import load_core


def _rows(path: Path, rate: str, duration: str, more: str = "") -> list[dict[str, Value]]:
    text = workload_text(
        "fentry+fexit",
        "fsession",
        rate=rate,
        duration=duration,
        cpus=2,
        lines_per_s="50M",
        footprint="256MiB",
        more=more,
    )
    path.write_text(text)
    workload = read_workload(path)
    return [dict(row) for row in load([workload], meters_of(workload)).rows]


def test_rare_calls_find_everything_cold_and_dense_ones_are_hot(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    rare = _rows(path, "5/s", "20s")
    dense = _rows(path, "2M/s", "20ms")
    for row in dense:
        assert row["cycles_per_call"] == pytest.approx(row["hot_cycles_per_call"], rel=0.01)
        assert float(str(row["l1_misses_per_call"])) < 0.05
    for row in rare:
        assert float(str(row["cycles_per_call"])) > 10 * float(str(row["hot_cycles_per_call"]))
        assert float(str(row["l3_misses_per_call"])) > 5
    # facts/cores.md: hot, a pair and a session cost the same; cold, the pair touches more lines
    pair, session = rare
    assert float(str(pair["l2_misses_per_call"])) > float(str(session["l2_misses_per_call"])) - 0.5
    assert float(str(pair["l3_misses_per_call"])) > float(str(session["l3_misses_per_call"]))
    assert float(str(pair["cycles_per_call"])) > float(str(session["cycles_per_call"]))


def test_an_interrupt_in_a_program_skips_its_runs(tmp_path: Path) -> None:
    more = '[[interrupts]]\nname = "n"\nkind = "poisson"\nrate = "50k"\ncycles = 100\ncalls = 1\n'
    pair, session = _rows(tmp_path / "t.toml", "2M/s", "50ms", more)
    assert int(str(pair["nested_calls"])) == int(str(session["nested_calls"])) > 1000
    # one session is skipped at entry and exit, of a pair only the program that is running
    assert int(str(session["recursion_misses"])) > 1.5 * int(str(pair["recursion_misses"])) > 0


def test_nested_calls_are_cheaper_while_the_program_runs() -> None:
    subject = Subject(Kernel(Arch.X86_64), function_of(), parse_scenario("fsession"), "count")
    programs = programs_of(subject.scenario, subject.body)
    core = load_core("golden-cove")
    nested = nested_costs(subject, core, lambda: attach_programs(subject, programs))
    assert [window.skipped for window in nested.windows] == [2, 2]
    for window in nested.windows:
        assert 0 < window.begin < window.end < nested.cycles
        assert window.cycles < nested.cycles
        assert nested.at((window.begin + 1) / nested.cycles, nested.cycles) == (window.cycles, 2)
    assert nested.at(0.0, nested.cycles) == (nested.cycles, 0)


def test_alias_tables_draw_in_proportion() -> None:
    weights = [1 / (k + 1) for k in range(10)]
    chances, aliases = alias_tables(weights)
    random, counts = Generator(3), Counter[int]()
    for _ in range(100_000):
        k = (random.next_u64() >> 32) * 10 >> 32
        counts[k if random.next_u64() < chances[k] else aliases[k]] += 1
    for k, weight in enumerate(weights):
        assert counts[k] / 100_000 == pytest.approx(weight / sum(weights), abs=0.006)


WORKLOADS = sorted((Path(__file__).parents[2] / "workloads").glob("*.toml"))
SHOWN = {"icmp_rcv"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in SHOWN else pytest.mark.slow, id=path.stem)
        for path in WORKLOADS
    ],
)
def test_memoised_calls_cost_what_calls_executed_one_by_one_do(path: Path) -> None:
    changes = Changes(duration="50ms", scenarios=("fentry+fexit", "fsession"))
    workload = change_workload(read_workload(path), changes)
    for row in load([workload], meters_of(workload)).rows:
        if workload.between_calls is None:
            assert "memo_calls" not in row
            continue
        assert int(str(row["memo_calls"])) > 2500
        error, interval = (
            float(str(row[f"memo_error_percent{suffix}"])) for suffix in ("", "_ci95")
        )
        assert abs(error) < 1 + interval, (row["arch"], row["scenario"])
        assert interval < 1
