"""Micro-kernels: the model against what the silicon took (golden-cove-microkernels.csv)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tramposim.timing import load_core
from tramposim.timing.throughput import throughput

BODIES = {
    "add r,r dependent": "4801c8",
    "add r,imm8 dependent": "4883c001",
    "add r,imm32 dependent": "480545230100",
    "inc r dependent": "48ffc0",
    "sub rsp,8/add rsp,8 pair": "4883ec084883c408",
    "imul r,r dependent": "480fafc1",
    "lea r,[r+d8] dependent": "488d4008",
    "mov r,r chain of 2": "4889c84889c1",
    "mov eax,eax (same reg)": "89c0",
    "movsxd/movzx eax,al chain": "0fb6c0",
    "xor zero + add": "31c04801c8",
    "nop x1 byte": "90",
    "nop 5 byte (0f1f440000)": "0f1f440000",
    "endbr64": "f30f1efa",
    "independent adds x5": "4801c84801ca4801ce4801cf4901c8",
    "movabs imm64": "48b8887766554433221148ba8877665544332211",
    "mov r32,imm32": "b844332211ba44332201",
    "independent loads": "488b03488b5308488b7310",
    "independent stores": "48890348895308",
    "store->load fwd [rbx] chain": "48894340488b4340",
    "store->load fwd [rsp] chain": "48894424c0488b4424c0",
    "store->load fwd [rbp] + add chain": "48894340488b43404801c8",
    "store->load via addr dep (slow path)": "488943404889c24883e200488b4413404801c8",
    "store8->load4 fwd": "488943408b43404801c8",
    "store4->load8 (fail)": "894340488b43404801c8",
    "inc dword [rbx] chain": "ff4340",
    "lock xadd [rbx]": "b801000000f00fc14340",
    "lock inc [rbx]": "f048ff4340",
    "lock add [rsp-4],0": "f0834424fc00",
    "lock cmpxchg [rbx]": "f0480fb14b40",
    "xchg [rbx],rax": "48874340",
    "mfence": "0faef0",
    "lfence": "0faee8",
    "cmpxchg no lock": "480fb14b40",
    "push/pop pair": "5058",
    "push/pop pair, diff reg": "5059",
    "push x4 pop x4": "505152565e5a5958",
    "frame: push rbp;mov rbp,rsp;sub rsp,64;leave": "554889e54883ec40c9",
    "LCP: add ax,imm16": "660534129090",
    "cmov dep": "480f44c1",
    "setz dep": "0f94c0",
    "bswap64": "480fc8",
    "shl cl": "48d3e0",
    "shlx": "c4e2f1f7c0",
    "rdtsc": "0f31",
    "popcnt dep": "f3480fb8c0",
    "inc dword [abs-like rbx+4096] via rbx": "83830010000001",
    "xchg ax,ax (2B nop)": "6690",
}
"""Machine code of the kernels' bodies that need no set-up, by the name of their row."""


def _rows(shared: Path) -> dict[str, dict[str, str]]:
    with open(shared / "hardware" / "golden-cove-microkernels.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def _error(row: dict[str, str]) -> float:
    """Cycles by which the model misses a kernel, beyond 5 % or 0.1 cycle (0: within)."""
    repeats, units = int(row["repeats_in_loop"]), int(row["units_per_body"])
    code = bytes.fromhex(BODIES[row["name"]]) * repeats
    cycles = throughput(code, load_core("golden-cove"), "loop").cycles / (repeats * units)
    measured = float(row["cycles_per_unit_median"])
    return max(0.0, abs(cycles - measured) - max(0.05 * measured, 0.1))


def test_nine_in_ten_kernels_take_what_they_take_on_silicon(shared: Path) -> None:
    rows = _rows(shared)
    missed = [name for name in BODIES if _error(rows[name]) > 0]
    assert len(missed) <= len(BODIES) // 10, missed


@pytest.mark.parametrize(
    "name",
    [
        "add r,imm8 dependent",
        "push/pop pair",
        "store->load fwd [rbp] + add chain",
        "store->load via addr dep (slow path)",
        "lock xadd [rbx]",
        "xor zero + add",
        "independent loads",
    ],
)
def test_the_effects_that_decide_hot_trampolines(shared: Path, name: str) -> None:
    assert _error(_rows(shared)[name]) == 0
