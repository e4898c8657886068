"""Users' programs compared: groups, pairs, stated costs, and what is refused."""

from __future__ import annotations

import pytest

from tramposim.bpf.asm import assemble
from tramposim.errors import InputError, UnsupportedError
from tramposim.kernel.declaration import parse_prototype
from tramposim.spec import Arch, Kernel, Program
from tramposim.study.bodies import programs_of
from tramposim.study.call import function_call
from tramposim.study.costs import parse_costs
from tramposim.study.engines import Traced
from tramposim.study.measure import measure
from tramposim.study.own import compare_programs, groups_of
from tramposim.study.records import Records
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_FUNCTION, Subject
from tramposim.timing import load_core

CORES = {"x86_64": "golden-cove", "arm64": "neoverse-n1"}
PRINTING = """
.section fsession/bpf_fentry_test1
printing:
    r1 = r10
    r1 += -8
    *(u64 *)(r10 - 8) = 0x21
    r2 = 2
    call bpf_trace_printk
    r0 = 0
    exit
"""


def own(programs: tuple[Program, ...], arch: Arch, costs: tuple[str, ...] = ()) -> Records:
    function = function_call(parse_prototype(DEFAULT_FUNCTION))
    return compare_programs(
        [Kernel(arch)],
        {arch: load_core(CORES[arch])},
        [Traced(function, programs)],
        "test",
        parse_costs(costs),
    )


def state_passing() -> tuple[Program, ...]:
    return (
        *programs_of(parse_scenario("fentry+fexit"), "latency-hash"),
        *programs_of(parse_scenario("fsession+cookie"), "latency-cookie"),
    )


def test_groups_are_alone_pair_and_all_each_once() -> None:
    groups = groups_of(state_passing())
    assert [(group.role, group.scenario.word) for group in groups] == [
        ("untraced", "untraced"),
        ("alone", "fentry"),
        ("alone", "fexit"),
        ("alone", "fsession+cookie"),
        ("pair", "fentry+fexit"),
        ("all", "fentry+fexit+fsession+cookie"),
    ]
    assert [group.role for group in groups_of(state_passing()[2:])] == ["untraced", "alone"]
    assert [group.role for group in groups_of(state_passing()[:2])][-1] == "pair"


@pytest.mark.parametrize("arch", Arch)
def test_a_files_programs_cost_what_the_same_bodies_cost(arch: Arch) -> None:
    rows = {row["role"]: row for row in own(state_passing()[:2], arch).rows}
    kernel, prototype = Kernel(arch), parse_prototype(DEFAULT_FUNCTION)
    core = load_core(CORES[arch])
    built_in = measure(
        Subject(kernel, prototype, parse_scenario("fentry+fexit"), "latency-hash"), core
    )
    assert rows["pair"]["cycles_per_call"] == round(built_in.cycles_per_call, 2)
    assert rows["pair"]["over_pair_ratio"] == 1
    empty = measure(Subject(kernel, prototype, parse_scenario("fentry+fexit")), core)
    own_cycles = built_in.cycles_per_call - empty.cycles_per_call
    assert rows["pair"]["cycles_over_empty"] == round(own_cycles, 2)


@pytest.mark.parametrize("arch", Arch)
def test_a_stated_cost_is_added_per_call_and_named(arch: Arch) -> None:
    programs = assemble(PRINTING, "test")
    (_, free), (_, stated) = (
        own(programs, arch, (f"bpf_printk={cycles}",)).rows for cycles in (0, 700)
    )
    before, after = free["cycles_per_call"], stated["cycles_per_call"]
    assert isinstance(before, float)
    assert after == pytest.approx(before + 2 * 700)
    assert stated["stated_costs"] == "2 bpf_trace_printk at 700 cycles"
    assert stated["stated_cycles_per_call"] == 1400


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("bpf_printk", InputError),
        ("bpf_printk=", InputError),
        ("bpf_printk=-1", InputError),
        ("bpf_printk=nan", InputError),
        ("bpf_nothing=5", InputError),
        ("bpf_map_lookup_elem=5", UnsupportedError),
    ],
)
def test_costs_that_cannot_be_stated(word: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        parse_costs([word])


RING = """
.map events ringbuf entries=4096
.section fentry/bpf_fentry_test1
emit:
    r1 = map[events] ll
    r2 = 1000
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto full
    r1 = r0
    r2 = 0
    call bpf_ringbuf_submit
    r0 = 0
    exit
full:
    r1 = map[events] ll
    r2 = 0
    call bpf_ringbuf_query
    r0 = 0
    exit
"""


@pytest.mark.parametrize("arch", Arch)
def test_ring_buffers_have_a_reader(arch: Arch) -> None:
    # A ring holds four of these records; every call is measured with room for its own. The
    # first one of those that the reader waits for wakes it up.
    large, small = (
        own(assemble(RING.replace("1000", size), "test"), arch).rows[1] for size in ("1000", "8")
    )
    executed = large["instructions_per_call"]
    assert isinstance(executed, float)
    assert small["instructions_per_call"] == pytest.approx(executed, rel=0.02)
