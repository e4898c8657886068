"""Bottlenecks: kernels that isolate one mechanism are held up by it, and causes sum up."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.timing.replay import image_trace
from tramposim.timing import load_core, time_trace
from tramposim.timing.blocks import time_blocks
from tramposim.timing.critical import GROUPS, group_of
from tramposim.timing.throughput import Mode, throughput


@pytest.mark.parametrize(
    ("code", "mode", "bottleneck"),
    [
        # what each of golden-cove-microkernels.csv measures
        ("480fafc1" * 8, "loop", "dependency"),  # imul r,r dependent
        ("90" * 60, "loop", "rename width"),  # nop
        ("488b03488b5308488b7310" * 8, "loop", "port 2"),  # independent loads
        ("894340488b43404801c8" * 8, "loop", "blocked store forwarding"),  # store4->load8
        ("5058" * 32, "loop", "store forwarding"),  # push/pop pair
        ("0faee8" * 8, "loop", "serialisation"),  # lfence
        ("f048ff4340" * 8, "loop", "locked operation"),  # lock inc
        ("66053412" * 8, "unroll", "length-changing prefix"),  # add ax,imm16
        ("48b888776655443322114889c1" * 4, "unroll", "decode"),  # 13 bytes, two instructions
    ],
)
def test_kernels_are_held_up_by_what_they_isolate(code: str, mode: Mode, bottleneck: str) -> None:
    result = throughput(bytes.fromhex(code), load_core("golden-cove"), mode)
    assert result.bottleneck == bottleneck
    assert sum(result.causes.values()) == pytest.approx(result.cycles)


@pytest.mark.parametrize(
    ("code", "mode", "reasons"),
    [
        ("480fafc1" * 8, "loop", {"execution latency"}),
        ("488b00", "unroll", {"load latency"}),  # mov rax, [rax]
        ("90" * 60, "loop", {"rename width"}),
        ("488b03488b5308488b7310" * 8, "loop", {"port 2", "port 3", "port 11"}),
        # what waits is the comparison, what it waits for is a load that has no port
        ("413b13" * 8, "unroll", {"port 2", "port 3", "port 11"}),
        # stores fill the queues in front of their ports: mov [rsp], rax; mov rbx, [rsp]
        ("48890424488b1c24", "unroll", {"port 4", "port 7", "port 8", "port 9"}),
        ("31d248f7f1", "unroll", {"execution latency"}),  # xor edx, edx; div rcx
        ("894340488b43404801c8" * 8, "loop", {"blocked store forwarding"}),
        ("5058" * 32, "loop", {"store forwarding"}),
        ("0faee8" * 8, "loop", {"serialisation"}),
        ("f048ff4340" * 8, "loop", {"locked operation"}),
        ("66053412" * 8, "unroll", {"length-changing prefix"}),
        ("48b888776655443322114889c1" * 4, "unroll", {"decode"}),
    ],
)
def test_the_critical_path_names_what_kernels_isolate(
    code: str, mode: Mode, reasons: set[str]
) -> None:
    core = load_core("golden-cove")
    result = throughput(bytes.fromhex(code), core, mode, "path")
    assert result.bottleneck in reasons
    of_these = sum(cycles for reason, cycles in result.causes.items() if reason in reasons)
    assert of_these > 0.6 * result.cycles
    assert sum(result.causes.values()) == pytest.approx(result.cycles)
    assert all(group_of(reason) in GROUPS for reason in result.causes)
    assert result.cycles == throughput(bytes.fromhex(code), core, mode).cycles


def test_srso_thunks_are_held_up_by_their_mispredicted_returns(shared: Path) -> None:
    trace = image_trace(shared / "golden", "x86_64-7.2.13-srso", "n1.bpf_fentry_test1.fs")
    timing = time_trace(trace, load_core("golden-cove"))
    assert timing.bottleneck == "misprediction"
    assert sum(timing.causes.values()) == pytest.approx(timing.cycles_per_call)


def test_blocks_take_the_same_whoever_shares_them(shared: Path) -> None:
    with open(shared / "hardware" / "golden-cove-blocks.csv", newline="") as file:
        blocks = [bytes.fromhex(row["hex"]) for row in csv.DictReader(file)][::15]
    core = load_core("golden-cove")
    assert time_blocks(blocks, core, jobs=2) == time_blocks(blocks[::-1], core, jobs=1)[::-1]
