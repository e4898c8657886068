"""Micro-kernels: their machine code is what an assembler makes of their text."""

from __future__ import annotations

import csv
import shutil

import pytest

from tramposim.study import micro
from tramposim.timing import load_core


def test_the_machine_code_is_what_the_gnu_assembler_makes_of_the_text() -> None:
    if shutil.which("as") is None:
        pytest.skip("no GNU assembler here")
    with micro._DATA.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows[::7]:
        loop, code = micro.assemble(row["init"], row["body"], row["tail"], int(row["repeats"]))
        assert (loop, code.hex()) == (int(row["loop"]), row["code"]), row["name"]


def test_kernels_with_set_up_calls_and_per_cpu_data_take_what_they_take_on_silicon() -> None:
    # golden-cove-microkernels.csv: cycles per unit
    measured = {
        "load-to-use L1 [r]": 5.01,
        "gs store->load [rip-abs]": 1.001,
        "call/ret pair (same target)": 3.877,
        "call->jmp ret thunk->ret": 6.940,
        "nested call depth 4": 13.127,
        "jmp pattern (same work, RSB clean)": 6.742,
        "indirect call reg (monomorphic)": 14.804,
        "indirect call mem (monomorphic)": 4.125,
        "jmp +0 taken chain": 7.017,
        "xorshift + random branch": 17.017,
        "xorshift + predictable branch": 6.003,
        "ret mispredict (callee patches ret addr)": 41.215,
        "rdpid": 5.119,
        "div r64 small": 10.003,
    }
    core = load_core("golden-cove")
    for kernel in micro.load_kernels():
        if kernel.name in measured:
            timing = micro.time_kernel(kernel, core)
            cycles = timing.cycles_per_call / kernel.units
            assert cycles == pytest.approx(measured[kernel.name], rel=0.05), kernel.name


def test_returns_without_calls_are_mispredicted_where_the_return_stack_wraps() -> None:
    # golden-cove-microkernels.csv: 2.7 cycles; results/hardware/zen5-microkernels.csv: 23.3
    (kernel,) = (k for k in micro.load_kernels() if k.name == "RSB mismatch (push addr; ret)")
    cycles = {
        name: micro.time_kernel(kernel, load_core(name)).cycles_per_call / kernel.units
        for name in ("golden-cove", "zen5")
    }
    assert cycles["golden-cove"] < 3
    assert cycles["zen5"] == pytest.approx(23.34, rel=0.2)
