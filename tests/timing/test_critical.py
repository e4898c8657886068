"""Critical paths: they tile the calls, and small kernels are held up by what they isolate."""

from __future__ import annotations

import numpy as np
import pytest

from tramposim._native.pipeline import Pipeline
from tramposim.machine.disassembly import disassemble
from tramposim.machine.trace import ACCESS, STORE, CodeRegion, Trace
from tramposim.spec import Arch
from tramposim.timing import load_core
from tramposim.timing.critical import Link, critical_path
from tramposim.timing.decode import parameters
from tramposim.timing.prepare import prepare
from tramposim.timing.stages import Recording, record_calls

CODE, STACK = 0x400000, 0x7000
COUNT_DOWN = "49ffcf0f8500000000"  # dec r15; jne


def _recorded(
    code: str, accesses: list[tuple[int, int, int, int]], name: str = "golden-cove"
) -> tuple[list[Link], Recording]:
    """Ten steady calls of a loop over `code`; `accesses` (insn, address, size, flags) of each."""
    body = bytes.fromhex(code + COUNT_DOWN)
    pcs = [one.address for one in disassemble(Arch.X86_64, body, CODE)]
    times, n = 40, len(pcs)
    rows = [
        (address, insn + n * turn, size, flags)
        for turn in range(times)
        for insn, address, size, flags in accesses
    ]
    trace = Trace(
        Arch.X86_64,
        np.array(pcs * times, dtype=np.uint64),
        np.array(rows, dtype=ACCESS),
        np.arange(0, times * n + 1, n, dtype=np.int64),
        (CodeRegion(CODE, body, "loop"),),
    )
    core = load_core(name)
    prepared = prepare(trace, core)
    pipeline = Pipeline(parameters(core), prepared.code.insns, prepared.code.uops)
    record_calls(pipeline, prepared, range(times))
    recording = record_calls(pipeline, prepared, range(10), range(10, times))
    return critical_path(prepared, core, recording), recording


@pytest.mark.parametrize(
    ("code", "accesses", "reason", "cycles"),
    [
        # what golden-cove-microkernels.csv and its guide say of each mechanism
        ("480fafc1" * 8, [], "execution latency", 24),  # imul rax, rcx: three cycles each
        ("90" * 60, [], "rename width", 10),  # nop: six a cycle
        ("0faee8" * 8, [], "serialisation", None),  # lfence
        ("48f7f1", [], "execution latency", None),  # div rcx
        # lock inc [rbx]
        ("f048ff03" * 4, [(i, 0x9000, 8, f) for i in range(4) for f in (0, STORE)],
         "locked operation", None),
        # mov [rbx], eax; mov rax, [rbx]: the load is wider than the store
        ("8903488b03", [(0, 0x9000, 4, STORE), (1, 0x9000, 8, 0)],
         "blocked store forwarding", None),
        # mov rax, [rax]: a chain of loads
        ("488b00" * 4, [(i, 0x9000, 8, 0) for i in range(4)], "load latency", 20),
    ],
)  # fmt: skip
def test_kernels_are_held_up_by_what_they_isolate(
    code: str, accesses: list[tuple[int, int, int, int]], reason: str, cycles: int | None
) -> None:
    path, recording = _recorded(code, accesses)
    sums: dict[str, int] = {}
    for link in path:
        sums[link.reason] = sums.get(link.reason, 0) + link.cycles
    assert max(sums, key=lambda name: sums[name]) == reason
    assert sum(sums.values()) == recording.cycles
    if cycles is not None:
        assert sums[reason] == pytest.approx(10 * cycles, rel=0.1)


def test_the_loop_buffer_ends_a_cycle_with_what_it_holds() -> None:
    # uiCA's Ice Lake: 31 uops are held once, and 30 + 1 of them take seven cycles of five.
    path, recording = _recorded("90" * 30, [], "icelake-server")
    sums: dict[str, int] = {}
    for link in path:
        sums[link.reason] = sums.get(link.reason, 0) + link.cycles
    assert recording.cycles == 10 * 7
    assert sum(sums.values()) == recording.cycles
    assert sums["loop buffer"] == pytest.approx(10, abs=1)


def test_links_follow_each_other_without_gap() -> None:
    path, recording = _recorded("488b00480fafc1", [(0, 0x9000, 8, 0)])
    now = 0
    for link in path:
        assert link.begin == now
        now += link.cycles
    assert now == recording.cycles
    assert {link.position % 4 for link in path} <= {0, 1, 3}
