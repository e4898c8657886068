"""Throughput of blocks: hardware's ranking, and refusals that say what is wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tramposim.errors import InputError, UnsupportedError
from tramposim.timing import load_core
from tramposim.timing.throughput import throughput


def test_blocks_cost_and_rank_as_on_silicon(shared: Path) -> None:
    with open(shared / "hardware" / "golden-cove-blocks.csv", newline="") as file:
        rows = list(csv.DictReader(file))[::25]
    core = load_core("golden-cove")
    measured = np.array([float(row["measured_cycles_per_100_iterations"]) / 100 for row in rows])
    modelled = np.array([throughput(bytes.fromhex(row["hex"]), core).cycles for row in rows])
    assert np.mean(np.abs(modelled / measured - 1)) < 0.07
    agree = np.sign(np.subtract.outer(measured, measured)) * np.sign(
        np.subtract.outer(modelled, modelled)
    )
    assert agree.sum() / (len(rows) * (len(rows) - 1)) > 0.88


@pytest.mark.parametrize(
    ("code", "cycles"),
    [
        # golden-cove-blocks.csv: a conditional move in five instructions, in four of which
        # another has several uops, in seven
        ("31d285c00f4ed083fafe", 0.997),
        ("41b90200000085c0450f45f149832c2401", 1.997),
        ("89da83c3018b442410f7da41f607010f44d385c0", 1.998),
    ],
)
def test_the_first_decoder_takes_conditional_moves(code: str, cycles: float) -> None:
    found = throughput(bytes.fromhex(code), load_core("golden-cove")).cycles
    assert found == pytest.approx(cycles, rel=0.07)


@pytest.mark.parametrize(
    ("code", "cycles"),
    [
        # golden-cove-blocks.csv: two loads of a bank (in two lines), of neighbouring banks
        ("4c8b7c2468498b5d284885db", 1.010),
        ("418b4028413b402c", 0.670),
        # an address that is scaled: latency, throughput
        ("488d2cfd000000004889ef", 1.999),
        ("4e8d74ee18", 0.332),
    ],
)
def test_banks_and_scaled_addresses_of_a_golden_cove(code: str, cycles: float) -> None:
    found = throughput(bytes.fromhex(code), load_core("golden-cove")).cycles
    assert found == pytest.approx(cycles, rel=0.05)


@pytest.mark.parametrize(
    ("core", "code", "cycles"),
    [
        # Arm Neoverse N1 Software Optimization Guide, section 3: add 1, mul X 4, madd 4,
        # add with a register shifted by more than 4 2, sdiv W up to 12; load-to-use 4.
        ("neoverse-n1", "0000018b", 1.0),
        ("neoverse-n1", "007c019b", 4.0),
        ("neoverse-n1", "0028018b", 2.0),
        ("neoverse-n1", "000040f9", 4.0),
        ("neoverse-n1", "000cc11a", 12.0),
    ],
)
def test_latencies_of_the_vendor_guide(core: str, code: str, cycles: float) -> None:
    assert throughput(bytes.fromhex(code), load_core(core)).cycles == pytest.approx(
        cycles, rel=0.05
    )


@pytest.mark.parametrize(
    ("core", "same", "inside", "overlapping"),
    [
        # chipsandcheese.com: Skylake (14 October 2022), 5 cycles and 15; AMD's Zen 4, Part 2
        # (8 November 2022), two instructions a cycle where addresses match, 7 to 8 and 6 to 7
        # where the store contains the load, 18 and 19 where it does not.
        ("skylake", 5, (5, 6), 15),
        ("zen3", 1, (7, 8), 18),
        ("zen4", 1, (6, 7), 19),
    ],
)
def test_stores_are_forwarded_as_measured(
    core: str, same: int, inside: tuple[int, int], overlapping: int
) -> None:
    def pair(store: str, load: str) -> float:
        code = bytes.fromhex((store + load) * 4)
        return throughput(code, load_core(core), "loop").cycles / 4

    store8, store4 = "48894340", "894340"  # mov [rbx+64], rax; mov [rbx+64], eax
    assert pair(store8, "488b4340") == pytest.approx(same, rel=0.05)  # mov rax, [rbx+64]
    assert inside[0] <= round(pair(store8, "8b4344"), 1) <= inside[1]  # mov eax, [rbx+68]
    assert pair(store4, "488b4340") == pytest.approx(overlapping, rel=0.05)


def test_an_unknown_instruction_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"vaddps.*c5fc58c0.*golden-cove"):
        throughput(bytes.fromhex("c5fc58c0"), load_core("golden-cove"))


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("", "1 to 4096 bytes"),
        ("0f8400000000", "ends with a branch"),
        ("ebfe90", "inside the block"),
        ("488b042500000000", "cannot be executed"),
    ],
)
def test_a_block_that_cannot_be_timed_says_why(code: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        throughput(bytes.fromhex(code), load_core("golden-cove"))
