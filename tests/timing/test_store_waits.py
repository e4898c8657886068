"""Loads behind stores under way: in several parts, in another page, with an indexed address."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tramposim._native.pipeline import Pipeline
from tramposim.machine.disassembly import disassemble
from tramposim.machine.trace import ACCESS, STORE, CodeRegion, Trace
from tramposim.spec import Arch
from tramposim.timing import load_core
from tramposim.timing.critical import critical_path
from tramposim.timing.decode import parameters
from tramposim.timing.prepare import PreparedTrace, prepare
from tramposim.timing.stages import record_calls
from tramposim.timing.throughput import throughput

CODE, TURNS = 0x400000, 60
CHASE = "48890b488b00"  # mov [rbx], rcx; mov rax, [rax]
CHASE_ARM = "610000f9000040f9"  # str x1, [x3]; ldr x0, [x0]


def _loop(core: str, code: str, accesses: list[tuple[int, int, int, int]]) -> PreparedTrace:
    """`TURNS` calls of `code`; `accesses` (insn, address, size, flags) of each."""
    arch = load_core(core).arch
    body = bytes.fromhex(code)
    pcs = [one.address for one in disassemble(arch, body, CODE)]
    rows = [
        (address, insn + len(pcs) * turn, size, flags)
        for turn in range(TURNS)
        for insn, address, size, flags in accesses
    ]
    trace = Trace(
        arch,
        np.array(pcs * TURNS, dtype=np.uint64),
        np.array(rows, dtype=ACCESS),
        np.arange(0, TURNS * len(pcs) + 1, len(pcs), dtype=np.int64),
        (CodeRegion(CODE, body, "loop"),),
    )
    return prepare(trace, load_core(core))


def _pipeline(core: str, prepared: PreparedTrace) -> Pipeline:
    return Pipeline(parameters(load_core(core)), prepared.code.insns, prepared.code.uops)


def _cycles(core: str, load: int, size: int = 8) -> float:
    """Cycles per turn of a chain of loads of `load`, each after a store of 8 bytes to 0x9010."""
    code = CHASE if load_core(core).arch is Arch.X86_64 else CHASE_ARM
    prepared = _loop(core, code, [(0, 0x9010, 8, STORE), (1, load, size, 0)])
    cycles = np.zeros(len(prepared.marks), dtype=np.int64)
    _pipeline(core, prepared).run(prepared.order, prepared.accesses, prepared.marks, cycles)
    return float(cycles[-1] - cycles[20]) / (TURNS - 20)


@pytest.mark.parametrize("core", ["skylake", "icelake-server", "golden-cove"])
@pytest.mark.parametrize("load", [0xA010, 0x1000_9010, 0xA008 + 7, 0xA017])
def test_a_store_4_kib_away_costs_a_load_five_cycles(core: str, load: int) -> None:
    # Intel's optimization manual: "4-KByte aliasing": five cycles on the latency of the load,
    # if the accessed bytes overlap, whole or in part, in the lowest twelve bits of the address.
    assert _cycles(core, load, 4) - _cycles(core, 0xA030, 4) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("load", [0xA008, 0xA018, 0xA410, 0x9810])
def test_other_offsets_in_a_page_are_no_aliases(load: int) -> None:
    assert _cycles("golden-cove", load) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("core", ["neoverse-n1", "cortex-a72"])
def test_arm_cores_whose_guides_name_no_aliasing_have_none(core: str) -> None:
    assert _cycles(core, 0xA010) == pytest.approx(_cycles(core, 0xA030), abs=0.1)


@pytest.mark.parametrize(
    ("code", "cycles"),
    [
        # golden-cove-blocks.csv. Two stores that overlap, read again by loads that overlap:
        ("488b5604488b0e4889570448890f", 17.960),
        ("488b56f1488b4ef8488957f148894ff8", 17.969),
        # a structure of fields of two, four and eight bytes, read at other sizes
        ("488b4424280fb77c241c0fb74c246e4989070fb74424306641897f186639cf6641894f2e664189471a0fb74424"
         "32664189471c8b442424418947280fb744241a66418947160fb744241e664189472c4489e8", 20.954),
        # all pages are one: what is stored in one page is loaded from another
        ("496356184889c7498b46208d4a0141894e1848897cd0084889de", 11.904),
        ("55534889f34883ec08488b6e48c646582e48897e384889564048894e50c746201f010000b92000000048c74630"
         "00000000c7460401000000c7460801000000488b5510488b7500", 25.756),
    ],
)  # fmt: skip
def test_loads_wait_until_the_cache_has_what_no_store_can_forward(code: str, cycles: float) -> None:
    found = throughput(bytes.fromhex(code), load_core("golden-cove"))
    assert found.cycles == pytest.approx(cycles, rel=0.06)
    assert found.bottleneck in ("blocked store forwarding", "dependency")


def test_no_load_is_renamed_to_a_store_with_an_index() -> None:
    # golden-cove-blocks.csv: mov r9, [rdi]; ...; and [r9 + rax*8], r10, 14.7 cycles a turn
    code = bytes.fromhex("4c8b0f31c0662e0f1f8400000000004989c24929da49c1fa3f4d2114c14883c0014939c3")
    assert throughput(code, load_core("golden-cove")).cycles > 11


@pytest.mark.parametrize("core", ["golden-cove", "skylake"])
def test_repetitions_with_aliases_are_recognised_as_they_execute(core: str) -> None:
    accesses = [(0, 0x9010, 8, STORE), (1, 0xA010, 8, 0)]
    prepared = _loop(core, CHASE, accesses)
    skipping, executing = _pipeline(core, prepared), _pipeline(core, prepared)
    cycles = [np.zeros(len(prepared.marks), dtype=np.int64) for _ in range(2)]
    for _ in range(4):
        skipping.run(prepared.order, prepared.accesses, prepared.marks, cycles[0])
        record_calls(executing, prepared, range(TURNS))
    assert skipping.cycle == executing.cycle
    assert skipping.events() == executing.events()


def test_the_critical_path_names_aliases_and_stores_that_block() -> None:
    for code, accesses, reason in (
        (CHASE, [(0, 0x9010, 8, STORE), (1, 0xA010, 8, 0)], "4K aliasing"),
        # mov [rbx], eax; mov [rbx + 4], eax; mov rax, [rbx]
        ("8903894304488b03",
         [(0, 0x9010, 4, STORE), (1, 0x9014, 4, STORE), (2, 0x9010, 8, 0)],
         "blocked store forwarding"),
    ):  # fmt: skip
        prepared = _loop("golden-cove", code, accesses)
        pipeline = _pipeline("golden-cove", prepared)
        record_calls(pipeline, prepared, range(TURNS))
        recording = record_calls(pipeline, prepared, range(10), range(10, TURNS))
        path = critical_path(prepared, load_core("golden-cove"), recording)
        assert all(a.begin + a.cycles == b.begin for a, b in pairwise(path))
        assert sum(link.cycles for link in path) == recording.cycles
        taken = sum(link.cycles for link in path if link.reason == reason)
        assert taken >= 0.4 * recording.cycles
