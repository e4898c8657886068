"""Random programs: r0 and memory are equal on the interpreter and both JITs."""

from __future__ import annotations

import random

import pytest

from tramposim.bpf.asm import assemble
from tramposim.machine.bare import compile_and_run, interpret_bare
from tramposim.spec import Arch, Kernel

MEMORY = 64
ALU = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "=", "s>>=", "s/=", "s%=")
TESTS = ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")
VALUES = (0, 1, -1, 2, 31, 64, -(1 << 31), (1 << 31) - 1, 0xFF, 0x8000)


def source(seed: int) -> str:
    """A program without loops; r9 is the memory, r0 to r8 hold values, r6 the call's result."""
    rng = random.Random(seed)
    lines = ["r9 = r1"]
    lines += [f"r{n} = {rng.choice((rng.getrandbits(64), rng.getrandbits(8))):#x} ll"
              for n in range(9)]  # fmt: skip

    def register() -> int:
        return rng.randrange(9)

    for number in range(40):
        kind = rng.randrange(8)
        dst, src, width = register(), register(), rng.choice("rw")
        bits = rng.choice((8, 16, 32, 64))
        place = f"(u{bits} *)(r9 + {rng.randrange(MEMORY // 8) * 8})"
        if kind < 3:
            op = rng.choice(ALU)
            immediate = rng.choice(VALUES)
            if op in ("<<=", ">>=", "s>>="):
                immediate = rng.randrange(-70, 70)
            operand = f"{width}{src}" if rng.random() < 0.6 else str(immediate)
            lines.append(f"{width}{dst} {op} {operand}")
        elif kind == 3:
            swap = rng.choice(("be16", "be32", "be64", "le16", "bswap16", "bswap32", "bswap64"))
            lines.append(f"r{dst} = {swap} r{dst}")
        elif kind == 4:
            lines.append(f"*{place} = r{src}")
        elif kind == 5:
            lines.append(f"r{dst} = *{place}")
        elif kind == 6:
            size, prefix = rng.choice(((32, "atomic"), (64, "atomic64")))
            op = rng.choice(("add", "or", "and", "xor"))
            at = rng.randrange(MEMORY // 8) * 8
            lines.append(f"r{src} = {prefix}_fetch_{op}((u{size} *)(r9 + {at}), r{src})")
        else:
            lines.append(f"if {width}{dst} {rng.choice(TESTS)} {width}{src} goto l{number}")
            lines += [f"r{register()} = (s8)r{register()}", f"l{number}:"]
    for other in range(1, 9):
        lines.append(f"r0 ^= r{other}")
    return "\n".join([*lines, "exit"])


def compare(seed: int) -> None:
    (program,) = assemble(source(seed))
    memory = random.Random(seed).randbytes(MEMORY)
    expected = interpret_bare(program.insns, memory)
    for arch in Arch:
        assert compile_and_run(Kernel(arch), program.insns, memory) == expected, (seed, arch)


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_engines_agree(first: int) -> None:
    for seed in range(first, first + 25):
        compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 3000, 500))
def test_engines_agree_on_many(first: int) -> None:
    for seed in range(first, first + 500):
        compare(seed)
