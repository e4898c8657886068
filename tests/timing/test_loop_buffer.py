"""The loop buffer: which loops it holds, what they take, and what keeps a loop out of it.

Truth is what Abel and Reineke found ("uiCA: Accurate Throughput Prediction of Basic Blocks on
Recent Intel Microarchitectures", ICS 2022): an Ice Lake renames five uops per cycle, but never the
last one that the buffer holds with the first one; loops of up to 6, 8, 12 and 30 uops are in it six
times, four times, three times and twice; it has 70 entries. Skylake's is switched off.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from tramposim.errors import InputError
from tramposim.machine.trace import ACCESS, CodeRegion, Trace
from tramposim.spec import Arch
from tramposim.timing import Timing, load_core, time_trace
from tramposim.timing.core import parse_core
from tramposim.timing.throughput import throughput

COUNT_DOWN = "49ffcf0f8500000000"  # dec r15; jne: one uop
CODE = 0x400000
ICE_LAKE = load_core("icelake-server")


@pytest.mark.parametrize(
    ("uops", "cycles"),
    [
        (5, 6 / 6),  # 30 uops
        (6, 8 / 6),  # 36
        (7, 6 / 4),  # 28
        (8, 7 / 4),  # 32
        (9, 6 / 3),  # 27
        (12, 8 / 3),  # 36
        (13, 6 / 2),  # 26
        (30, 12 / 2),  # 60
        (31, 7),
        (66, 14),
        (70, 14),
        (71, 71 / 5),  # from the uop cache
    ],
)
def test_iterations_in_an_ice_lakes_buffer_end_a_cycle(uops: int, cycles: float) -> None:
    found = throughput(bytes.fromhex("90" * (uops - 1) + COUNT_DOWN), ICE_LAKE, "loop")
    assert found.cycles == pytest.approx(cycles, rel=0.005)
    assert sum(found.causes.values()) == pytest.approx(found.cycles)
    held = uops <= 70 and uops % 5 and (uops * 2) % 5
    assert ("loop buffer" in found.causes) == bool(held)


@pytest.mark.parametrize(
    ("code", "uops"),
    [
        ("b401" + "90" * 29, 31),  # mov ah, 1: a register's second byte
        ("5058" + "90" * 28, 31),  # push rax; pop rax
    ],
)
def test_what_the_buffer_does_not_hold_comes_from_the_uop_cache(code: str, uops: int) -> None:
    found = throughput(bytes.fromhex(code + COUNT_DOWN), ICE_LAKE, "loop")
    assert found.cycles == pytest.approx(uops / 5, rel=0.02)
    assert "loop buffer" not in found.causes


@pytest.mark.parametrize("core", ["skylake", "golden-cove"])
def test_cores_without_a_buffer_end_no_cycle_with_an_iteration(core: str) -> None:
    # golden-cove-microkernels.csv, 'nop 5 byte': 121 uops take 20.2 cycles
    found = throughput(bytes.fromhex("90" * 30 + COUNT_DOWN), load_core(core), "loop")
    assert found.cycles == pytest.approx(31 / {"skylake": 4, "golden-cove": 6}[core], rel=0.01)
    assert "loop buffer" not in found.causes


def _loop_of_two_ways(turns: list[bool]) -> Timing:
    """A loop of 30 uops in which `jz` skips the nop behind it where `turns` says so."""
    body = bytes.fromhex("4801c1" + "740190" + "90" * 27 + "ebdd")
    pcs, starts = [], [0]
    for skipped in turns:
        pcs += [CODE, CODE + 3]
        pcs += [] if skipped else [CODE + 5]
        pcs += [*range(CODE + 6, CODE + 33), CODE + 33]
        starts.append(len(pcs))
    trace = Trace(
        Arch.X86_64,
        np.array(pcs, dtype=np.uint64),
        np.zeros(0, dtype=ACCESS),
        np.array(starts, dtype=np.int64),
        (CodeRegion(CODE, body, "loop"),),
    )
    return time_trace(trace, ICE_LAKE)


def test_only_a_loop_that_goes_one_way_is_held() -> None:
    one_way, both_ways = _loop_of_two_ways([True] * 64), _loop_of_two_ways([True, False] * 32)
    assert one_way.cycles_per_call == pytest.approx(12 / 2, rel=0.005)  # 29 uops, held twice
    assert one_way.causes["loop buffer"] > 0
    assert both_ways.cycles_per_call == pytest.approx((29 + 30) / 2 / 5, rel=0.005)
    assert "loop buffer" not in both_ways.causes


def test_copies_that_do_not_fit_are_refused() -> None:
    text = (resources.files("tramposim.timing.cores") / "icelake-server.toml").read_text()
    file = text.replace("{ copies = 2, uops = 30,", "{ copies = 3, uops = 30,")
    with pytest.raises(InputError, match="3 copies of 30 uops do not fit"):
        parse_core(file, "mine.toml")
