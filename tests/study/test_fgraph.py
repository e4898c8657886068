"""Function-graph tracing: many functions by one program, nested and recursive calls."""

from __future__ import annotations

from functools import cache

import pytest
from support.workloads import workload_text

from tramposim.errors import InputError
from tramposim.study.load import load
from tramposim.study.meter import meters_of
from tramposim.study.records import Value
from tramposim.study.workload import parse_workload
from tramposim.timing import load_core


@cache
def row(functions: str = "", scenario: str = "fsession") -> dict[str, Value]:
    """The row of a scenario with this table of functions."""
    text = workload_text(
        scenario,
        rate="20k/s",
        duration="50ms",
        work_cycles=5000,
        more=functions.replace(", ", "\n"),
    )
    workload = parse_workload(text, "t")
    (found,) = load([workload], meters_of(workload)).rows
    return dict(found)


def number(found: dict[str, Value], field: str) -> float:
    return float(str(found[field]))


def tree(count: int, more: str = "", scenario: str = "fsession") -> dict[str, Value]:
    table = f"[functions], count = {count}, depth = 5" + (f", {more}" if more else "")
    return row(table, scenario)


def cycles(found: dict[str, Value]) -> float:
    return number(found, "cycles_per_call")


def test_one_function_is_the_plain_workload() -> None:
    assert row("[functions], count = 1") == row()


def test_nested_calls_of_one_function_find_what_the_outer_one_brought() -> None:
    nested, hot = tree(1), number(row(), "hot_cycles_per_call")
    assert nested["calls"] == row()["calls"]
    # one call of five finds what a single one does, four are hot
    assert cycles(nested) == pytest.approx((cycles(row()) + 4 * hot) / 5, rel=0.05)


def test_cost_grows_with_the_lines_of_more_functions() -> None:
    rows = [tree(count) for count in (1, 5, 125, 5000)]
    costs = [cycles(found) for found in rows]
    assert costs == sorted(costs)
    assert costs[3] > costs[2] * 1.3 > costs[1] * 1.3
    deep = [number(r, "l2_misses_per_call") + number(r, "l3_misses_per_call") for r in rows]
    assert deep == sorted(deep)
    # image, function and their data: a handful of lines of each function's own
    assert deep[3] < 16
    caches = load_core("golden-cove").caches
    waits = {
        "l1_misses_per_call": float(caches.l2_latency.value),
        "l2_misses_per_call": float(caches.l3_latency.value),
        "l3_misses_per_call": float(caches.memory_latency.value),
        "btb_misses_per_call": 40.0,
        "l1_tlb_misses_per_call": 20.0,
        "page_walks_per_call": 200.0,
    }
    # what more functions cost is at most what their misses take one after the other
    for found in rows[1:]:
        most = sum(
            max(0.0, number(found, field) - number(rows[0], field)) * wait
            for field, wait in waits.items()
        )
        assert 0 < cycles(found) - cycles(rows[0]) < most


def test_state_by_function_is_further_lines_of_each() -> None:
    def more(count: int) -> float:
        pair = tree(count, scenario="fentry+fexit:latency-stack")
        session = tree(count, scenario="fsession+cookie:latency-cookie")
        fields = ("l2_misses_per_call", "l3_misses_per_call")
        return sum(number(pair, field) - number(session, field) for field in fields)

    # an entry of the map for every function, a cookie on the stack for all
    assert abs(more(1)) < 0.1
    assert more(5000) > 0.3


def test_recursive_calls_find_the_functions_own_lines() -> None:
    assert cycles(tree(1)) < cycles(tree(5000, "recursion = 0.9")) < cycles(tree(5000))


def test_a_call_that_makes_three_calls_makes_a_tree() -> None:
    wide = tree(125, "fanout = 3")
    assert wide["calls"] == row()["calls"]
    # 1 + 3 + 9 + 27 + 81 calls take the CPU of an arrival
    share = number(wide, "calls_per_s") * (5000 + 121 * cycles(wide)) / 3e9
    assert number(wide, "utilisation_percent") == pytest.approx(100 * share, rel=0.01)
    assert number(wide, "saturation_calls_per_s") < 3e9 / (5000 + 120 * 100)


@pytest.mark.parametrize(
    "table",
    ["count = 0", "depth = 65", "fanout = 0", "fanout = 9, depth = 5", "recursion = 1.0"],
)
def test_impossible_call_graphs_are_located(table: str) -> None:
    with pytest.raises(InputError, match=r"t:\d+.*functions"):
        row(f"[functions], {table}")
