"""Blocks timed per second by `throughput`, side by side with llvm-mca on the same blocks.

The blocks are random ones of a fixed seed (moves, arithmetic, multiplications, loads and stores;
2 to 12 instructions), or those of a CSV with a column `hex`. llvm-mca (Debian: package llvm) gets
all of them in one process, as regions, and 100 iterations of each; the two take turns. All times
are of the CPU. Run: python benchmarks/bench_blocks.py [CSV]
"""

from __future__ import annotations

import csv
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median

from bench_core import MCA_CPU, mca_seconds

from tramposim.machine.disassembly import disassemble
from tramposim.spec import Arch
from tramposim.timing import load_core
from tramposim.timing.blocks import time_blocks
from tramposim.timing.throughput import Throughput

CORE = "icelake-server"
BLOCKS = 1000
ROUNDS = 5
ITERATIONS = 100
# add, sub, xor, imul, mov between registers; mov, mov, add, lea with memory: ModRM follows.
OPCODES = (b"\x48\x01", b"\x48\x29", b"\x48\x31", b"\x48\x0f\xaf", b"\x48\x89")
MEMORY = (b"\x48\x8b", b"\x48\x89", b"\x48\x03", b"\x48\x8d")
REGISTERS = (0, 1, 2, 6, 7)
BASE = 3
"""rbx, which no instruction writes, so that memory stays in reach."""


def random_block(rng: random.Random) -> bytes:
    """Instructions between registers, and some with [register + displacement]."""
    code = b""
    for _ in range(rng.randrange(2, 13)):
        reg, rm = rng.choice(REGISTERS), rng.choice(REGISTERS)
        if rng.random() < 0.3:
            modrm, tail = 0x40 | reg << 3 | BASE, bytes([8 * rng.randrange(16)])
            code += rng.choice(MEMORY) + bytes([modrm]) + tail
        else:
            code += rng.choice(OPCODES) + bytes([0xC0 | reg << 3 | rm])
    return code


def source_of(blocks: Sequence[bytes]) -> str:
    """All blocks as regions of one assembler text."""
    lines = [".intel_syntax noprefix"]
    for number, block in enumerate(blocks):
        lines.append(f"# LLVM-MCA-BEGIN b{number}")
        lines += [f"{line.mnemonic} {line.operands}" for line in disassemble(Arch.X86_64, block, 0)]
        lines.append("# LLVM-MCA-END")
    return "\n".join(lines)


def rounds() -> Iterator[list[bytes]]:
    """The blocks of each round: other random ones, or the file's."""
    for number in range(ROUNDS):
        if len(sys.argv) > 1:
            with open(sys.argv[1], newline="") as file:
                yield [bytes.fromhex(row["hex"]) for row in csv.DictReader(file)]
        else:
            rng = random.Random(number)
            yield [random_block(rng) for _ in range(BLOCKS)]


def main() -> None:
    """Prints the median rates of both and the median ratio of the rounds' pairs."""
    core = load_core(CORE)
    program = shutil.which("llvm-mca")
    ours, theirs, timed = [], [], 0
    for blocks in rounds():
        start = time.process_time()
        results = time_blocks(blocks, core, jobs=1)
        taken = time.process_time() - start
        good = [b for b, r in zip(blocks, results, strict=True) if isinstance(r, Throughput)]
        timed += len(good)
        ours.append(len(good) / taken)
        if program:
            theirs.append(len(good) / mca_seconds(program, source_of(good), ITERATIONS))
    print(f"{CORE}: {timed} blocks, {median(ours):,.0f} blocks/s on one CPU")
    if theirs:
        ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"llvm-mca {MCA_CPU}: {median(theirs):,.0f} blocks/s; {ratio:.2f} times that")
    else:
        print("llvm-mca skipped: not installed")


if __name__ == "__main__":
    main()
