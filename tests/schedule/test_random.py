"""Native random numbers against their published algorithm and the exact functions."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tramposim._native import rng

# xoshiro256++ from the state (0, 0, 0, 1), as the authors' C code gives it
# (table in the test data of DSCF-1224/xoshiro-fortran)
REFERENCE = [
    0x800000, 0x800011, 0x2200000800011, 0x2200044000020, 0x22000448008A1,
    0x1102100802208A0, 0x114002284200880, 0x402896644A64095, 0x8A14A0A244ACC891,
    0x8C88BA4680B20495,
]  # fmt: skip


def test_xoshiro_matches_the_reference_stream() -> None:
    generator = rng.Generator.from_state((0, 0, 0, 1))
    assert [generator.next_u64() for _ in REFERENCE] == REFERENCE


def test_streams_of_one_seed_differ() -> None:
    first = {rng.Generator(1, stream).next_u64() for stream in range(10_000)}
    assert len(first) == 10_000


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_log_agrees_with_the_exact_one(x: float) -> None:
    assert math.isclose(rng.log(x), math.log(x), rel_tol=2e-15, abs_tol=4e-16)


@given(st.floats(min_value=-690, max_value=690))
def test_exp_agrees_with_the_exact_one(x: float) -> None:
    assert math.isclose(rng.exp(x), math.exp(x), rel_tol=1e-14)


def test_exponential_has_mean_and_variance_one() -> None:
    generator = rng.Generator(7)
    sample = [generator.exponential() for _ in range(100_000)]
    mean = sum(sample) / len(sample)
    variance = sum((x - mean) ** 2 for x in sample) / len(sample)
    assert abs(mean - 1) < 4 / math.sqrt(len(sample))
    assert abs(variance - 1) < 4 * math.sqrt(8 / len(sample))
    assert min(sample) >= 0
