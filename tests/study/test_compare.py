"""The comparison end to end: every row real, on both architectures."""

import pytest

from tramposim.kernel.declaration import parse_prototype
from tramposim.study.compare import GRID, compare
from tramposim.study.kernels import kernel_of
from tramposim.study.records import Records
from tramposim.study.subject import DEFAULT_FUNCTION
from tramposim.timing import load_core

CORES = {"x86_64": "golden-cove", "arm64": "neoverse-n1"}


@pytest.fixture(scope="module")
def records() -> Records:
    return compare(
        [kernel_of(arch, "7.2") for arch in CORES],
        {arch: load_core(name) for arch, name in CORES.items()},
        parse_prototype(DEFAULT_FUNCTION),
    )


def row(records: Records, arch: str, scenario: str, body: str = "empty") -> dict[str, object]:
    (found,) = (
        row
        for row in records.rows
        if (row["arch"], row["scenario"], row["body"]) == (arch, scenario, body)
    )
    return dict(found)


def test_there_is_a_row_per_architecture_scenario_and_body(records: Records) -> None:
    keys = [(row["arch"], row["scenario"], row["body"]) for row in records.rows]
    assert keys == [(arch, *cell) for arch in CORES for cell in GRID]


@pytest.mark.parametrize("arch", CORES)
def test_image_sizes_are_those_of_the_booted_kernel(records: Records, arch: str) -> None:
    measured = {
        "x86_64": {"fentry": 105, "fexit": 148, "fentry+fexit": 217, "fsession": 237,
                   "fsession+cookie": 266},
        "arm64": {"fentry": 164, "fexit": 236, "fentry+fexit": 324, "fsession": 344,
                  "fsession+cookie": 368},
    }  # fmt: skip
    for scenario, size in measured[arch].items():
        assert row(records, arch, scenario)["image_bytes"] == size


def test_an_fsession_image_is_longer_than_the_pairs(records: Records) -> None:
    pair = row(records, "x86_64", "fentry+fexit")["image_instructions"]
    assert isinstance(pair, int)
    assert row(records, "x86_64", "fsession")["image_instructions"] == pair + 4
    assert row(records, "x86_64", "fsession+cookie")["image_instructions"] == pair + 10


@pytest.mark.parametrize("arch", CORES)
@pytest.mark.parametrize(
    ("scenario", "programs", "links", "slots"),
    [
        ("untraced", 0, 0, 0),
        ("fentry", 1, 1, 1),
        ("fentry+fexit", 2, 2, 2),
        ("fsession", 1, 1, 2),
        ("fsession+cookie", 1, 1, 2),
    ],
)
def test_an_fsession_is_one_program_and_link_in_two_slots(
    records: Records, arch: str, scenario: str, programs: int, links: int, slots: int
) -> None:
    found = row(records, arch, scenario)
    assert (found["programs"], found["links"], found["slots"]) == (programs, links, slots)


@pytest.mark.parametrize("arch", CORES)
def test_the_cookie_beats_the_hash_map(records: Records, arch: str) -> None:
    (found,) = (found for found in records.meta["break_even"] if found["arch"] == arch)
    assert found["saved_cycles"] > 0
    with_map = row(records, arch, "fsession", "latency-hash")["cycles_per_call"]
    assert isinstance(with_map, float)
    assert found["cookie_cycles"] < with_map


@pytest.mark.parametrize("arch", CORES)
def test_cycles_are_over_the_untraced_call(records: Records, arch: str) -> None:
    untraced = row(records, arch, "untraced")
    assert untraced["cycles_over_untraced"] == 0
    for scenario in ("fentry", "fexit", "fsession"):
        found = row(records, arch, scenario)
        assert found["cycles_over_untraced"] == pytest.approx(
            found["cycles_per_call"] - untraced["cycles_per_call"],
            abs=0.02,  # type: ignore[operator]
        )
