"""Starting states and carried state: latencies by definition, overlap, what calls leave behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tramposim.errors import InputError
from tramposim.machine.trace import ACCESS, STORE, CodeRegion, Trace
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Attachment, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_CORES, function_of
from tramposim.timing import STATES, load_core, time_trace
from tramposim.timing.calls import CallTimer
from tramposim.timing.footprint import footprint_of
from tramposim.timing.states import apply_state, bring, signature

CODE, DATA = 0x400000, 0x10000000
CHAINED, INDEPENDENT = b"\x48\x8b\x00", b"\x48\x8b\x0f"
"""mov rax, [rax]; mov rcx, [rdi]"""
STORE_RCX, LOCK_ADD = b"\x48\x89\x0f", b"\xf0\x48\x01\x0f"
"""mov [rdi], rcx; lock add [rdi], rcx"""


def _trace(steps: Sequence[tuple[bytes | None, int, int]], calls: int = 4) -> Trace:
    """A loop closed by a jump to its begin: of (instruction, address and flags of its access).

    A step without an instruction is one more access of the instruction before it.
    """
    code, pcs, made = b"", [], []
    for instruction, address, flags in steps:
        if instruction is not None:
            pcs.append(CODE + len(code))
            code += instruction
        made.append((address, len(pcs) - 1, 8, flags))
    pcs.append(CODE + len(code))
    # jmp rel32 back to the begin
    code += b"\xe9" + (-(len(code) + 5)).to_bytes(4, "little", signed=True)
    accesses = [
        (address, number * len(pcs) + at, size, flags)
        for number in range(calls)
        for address, at, size, flags in made
    ]
    return Trace(
        Arch.X86_64,
        np.array(pcs * calls, dtype=np.uint64),
        np.array(accesses, dtype=ACCESS),
        np.arange(calls + 1, dtype=np.int64) * len(pcs),
        (CodeRegion(CODE, code),),
        stack=DATA - 4096,
    )


def _cycles(trace: Trace, state: str) -> float:
    return time_trace(trace, load_core("golden-cove"), state).cycles_per_call


def _loads(load: bytes, addresses: Sequence[int]) -> Trace:
    return _trace([(load, address, 0) for address in addresses])


@pytest.mark.parametrize(
    ("state", "latency"), [("cold-data", "l2_latency"), ("cold", "memory_latency")]
)
def test_dependent_loads_take_the_latency_of_their_level(state: str, latency: str) -> None:
    # pointer chasing is how the latencies are measured; lines of different pairs and pages
    addresses = [DATA + 256 * i for i in range(12)]
    core = load_core("golden-cove")
    expected = int(getattr(core.caches, latency).value)
    more = _cycles(_loads(CHAINED, addresses), state) - _cycles(
        _loads(CHAINED, addresses[:4]), state
    )
    assert more / 8 == pytest.approx(expected, rel=0.02)


def test_misses_overlap_as_far_as_there_are_fill_buffers() -> None:
    core = load_core("golden-cove")
    buffers = int(core.caches.data_fill_buffers.value)
    memory = int(core.caches.memory_latency.value)
    addresses = [DATA + 256 * i for i in range(2 * buffers)]
    once = _cycles(_loads(INDEPENDENT, addresses[:buffers]), "cold")
    twice = _cycles(_loads(INDEPENDENT, addresses), "cold")
    assert once < 1.2 * memory + 40
    assert twice - once == pytest.approx(memory, rel=0.1)


def test_stores_to_cold_lines_hold_up_only_what_waits_for_them() -> None:
    core = load_core("golden-cove")
    memory = int(core.caches.memory_latency.value)
    buffers = int(core.caches.data_fill_buffers.value)
    few, many = (
        [(STORE_RCX, DATA + 256 * i, STORE) for i in range(count)] for count in (4, 2 * buffers)
    )
    # stores retire before their lines are there; a locked operation drains them first
    assert _cycles(_trace(many), "cold") < memory / 4
    locked = [(LOCK_ADD, DATA - 8192, 0), (None, DATA - 8192, STORE)]
    waits = [_cycles(_trace([*stores, *locked]), "cold") for stores in (few, many)]
    assert waits[0] == pytest.approx(2 * memory, rel=0.1)
    assert waits[1] - waits[0] == pytest.approx(memory, rel=0.15)


def test_the_other_line_of_a_pair_comes_along_from_memory() -> None:
    alone = _loads(CHAINED, [DATA, DATA + 128])
    together = _loads(CHAINED, [DATA, DATA + 64])
    assert _cycles(alone, "cold") - _cycles(together, "cold") > 250


def test_dependent_loads_of_other_pages_wait_for_walks() -> None:
    spread = [DATA + (5 << 12) * i for i in range(8)]
    near = [DATA + 256 * i for i in range(8)]
    walk = (_cycles(_loads(CHAINED, spread), "cold-tlb")
            - _cycles(_loads(CHAINED, near), "cold-tlb")) / 7  # fmt: skip
    # second-level TLB and the last entry from L2 at least (upper levels are known from the first)
    assert 7 + 5 <= walk <= 60


def test_a_core_goes_from_cold_to_hot_as_calls_repeat() -> None:
    trace, core = _traced("fsession"), load_core("golden-cove")
    timer = CallTimer(trace, core)
    timer.warm()
    hot = timer.time(0).cycles
    apply_state(timer.state, "cold", *timer.caller(0))
    first, second, third = (timer.time(0).cycles for _ in range(3))
    assert first > 10 * hot
    assert second == pytest.approx(hot, rel=0.15)
    assert third == pytest.approx(hot, rel=0.05)


@pytest.mark.parametrize(
    ("words", "body"), [("fsession", "empty"), ("fentry+fexit", "latency-hash")]
)
@pytest.mark.parametrize("arch", list(Arch))
def test_calls_back_to_back_on_warm_caches_cost_what_hot_calls_cost(
    arch: Arch, words: str, body: str
) -> None:
    trace, core = _traced(words, body, arch), load_core(DEFAULT_CORES[arch])
    hot = time_trace(trace, core)
    timer = CallTimer(trace, core)
    timer.warm()
    warm = timer.back_to_back(10)
    assert 0.97 * hot.cycles_low <= warm <= 1.03 * hot.cycles_high
    assert timer.state.counts() == [[0] * 6] * 5


def test_equal_signatures_mean_equal_calls() -> None:
    trace, core = _traced("fentry+fexit"), load_core("golden-cove")
    timer = CallTimer(trace, core)
    timer.warm()
    prints = footprint_of(timer.prepared, trace.pages, 0)
    seen: dict[bytes, set[int]] = {}
    for state in ("cold", "cold-data", "hot", "cold", "cold-tlb", "cold-data", "cold-tlb", "hot"):
        timer.time(0)
        timer.time(0)
        apply_state(timer.state, state, *timer.caller(0))
        mark = signature(timer.state, prints)
        seen.setdefault(mark, set()).add(timer.time(0).cycles)
    assert len(seen) >= 4
    assert all(len(cycles) == 1 for cycles in seen.values())


def test_what_a_call_leaves_is_what_its_footprint_brings() -> None:
    trace, core = _traced("fentry+fexit", "count"), load_core("golden-cove")
    timer = CallTimer(trace, core)
    timer.warm()
    prints = footprint_of(timer.prepared, trace.pages, 0)
    for state in ("cold", "cold-tlb", "cold-code"):
        apply_state(timer.state, state, *timer.caller(0))
        brought = timer.state.copy()
        timer.time(0)
        bring(brought, prints)
        kinds = ("data", "code", "data page", "code page", "uops")
        left = {kind: addresses for kind, addresses in prints.kinds() if kind in kinds}
        for kind, addresses in left.items():
            assert brought.levels(kind, addresses) == timer.state.levels(kind, addresses), kind


def test_background_work_costs_the_more_the_more_it_displaces() -> None:
    trace, core = _traced("fsession"), load_core("golden-cove")
    timer = CallTimer(trace, core)
    timer.warm()
    costs = []
    for lines in (0, 200, 2_000, 100_000, 10_000_000):
        for _ in range(3):
            timer.time(0)
        for structure in ("code", "data", "l2", "l3"):
            timer.state.displace(structure, lines)
        costs.append(timer.time(0).cycles)
    assert costs == sorted(costs)
    assert costs[-1] > 5 * costs[0]


@pytest.mark.parametrize("state", STATES)
def test_the_same_call_in_the_same_state_takes_the_same(state: str) -> None:
    trace, core = _traced("fentry"), load_core("golden-cove")
    first, second = (time_trace(trace, core, state) for _ in range(2))
    assert first.cycles_per_call == second.cycles_per_call
    assert first.calls == second.calls


def test_every_miss_names_line_instruction_and_place() -> None:
    trace = _traced("fentry")
    timing = time_trace(trace, load_core("golden-cove"), "cold")
    executed = set(trace.pcs.tolist())
    for call, prints in zip(timing.calls, timing.footprints, strict=True):
        touched = set(prints.code_lines.tolist()) | set(prints.data_lines.tolist())
        lines = [miss for miss in call.misses if miss.kind.endswith("line")]
        # each once; some come along with a neighbour
        assert len(lines) == len({(miss.kind, miss.address) for miss in lines})
        assert {miss.address for miss in lines} <= touched
        assert len(lines) > len(touched) / 2
        assert {miss.pc for miss in lines} <= executed
        assert {miss.found for miss in lines} <= {"memory", "L2", "L3"}


def test_footprints_count_distinct_lines_pages_and_branches() -> None:
    trace = _loads(CHAINED, [DATA, DATA + 8, DATA + 64, DATA + 4096 - 4])
    prints = footprint_of(CallTimer(trace, load_core("golden-cove")).prepared, (), 0)
    # the last load straddles a line and a page; the jump's target lies in the next call
    assert prints.data_lines.tolist() == [DATA, DATA + 64, DATA + 4032, DATA + 4096]
    assert prints.data_pages.tolist() == [DATA, DATA + 4096]
    assert prints.code_lines.tolist() == [CODE]
    assert prints.written_lines.tolist() == []


def _traced(words: str, body: str = "empty", arch: Arch = Arch.X86_64) -> Trace:
    programs = programs_of(parse_scenario(words), body)
    world = TracedWorld(
        Kernel(arch), function_of(), tuple(Attachment(program) for program in programs)
    )
    world.run(4, trace=False)
    trace = world.run(8).trace
    assert trace is not None
    return trace


@pytest.mark.parametrize("arch", list(Arch))
def test_hot_a_pair_costs_what_a_session_costs_cold_it_touches_and_costs_more(arch: Arch) -> None:
    core = load_core(DEFAULT_CORES[arch])
    pair, session = (_traced(words, "empty", arch) for words in ("fentry+fexit", "fsession"))
    hot = [time_trace(trace, core).cycles_per_call for trace in (pair, session)]
    assert hot[0] == pytest.approx(hot[1], rel=0.05)
    cold = [time_trace(trace, core, "cold") for trace in (pair, session)]
    lines = [len(found.footprints[0].code_lines) for found in cold]
    assert lines[0] > lines[1]
    assert cold[0].cycles_per_call > cold[1].cycles_per_call


def test_unknown_states_are_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"luke-warm.*cold-tlb"):
        _cycles(_loads(CHAINED, [DATA]), "luke-warm")
