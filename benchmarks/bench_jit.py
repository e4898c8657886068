"""eBPF instructions compiled per second: random straight-line and branching programs.

The programs differ from each other (other registers, constants and offsets), as those of a
fuzzer do. Instruction slots are counted.

Run: python benchmarks/bench_jit.py [SECONDS]
"""

from __future__ import annotations

import random
import sys
import time

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, encode
from tramposim.bpf.loaded import LoadedFunction
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.program import compile_function
from tramposim.spec import Arch, Kernel

CALL_BASE = {Arch.X86_64: 0xFFFFFFFF81200000, Arch.ARM64: 0xFFFF800080200000}
CODE = {Arch.X86_64: 0xFFFFFFFFC0000000, Arch.ARM64: 0xFFFF800092000000}
OPERATIONS = [op for op in isa.ALU_OPS if op not in (isa.LSH, isa.RSH, isa.ARSH)]
LENGTHS = (30, 300, 3000)
PROGRAMS = 40


def program(rng: random.Random, length: int) -> bytes:
    """A program that a JIT accepts (nothing executes it)."""
    insns: list[Insn] = []
    while len(insns) < length - 1:
        dst, src = rng.randrange(10), rng.randrange(10)
        imm = rng.choice((0, 1, 7, 128, 4096, -1, rng.getrandbits(31), -rng.getrandbits(31)))
        kind = rng.random()
        cls = rng.choice((isa.ALU, isa.ALU64))
        if kind < 0.3:
            insns.append(Insn(cls | rng.choice(OPERATIONS), dst, 0, 0, imm))
        elif kind < 0.5:
            insns.append(Insn(cls | rng.choice(OPERATIONS) | isa.X, dst, src))
        elif kind < 0.7:
            size = rng.choice(tuple(isa.SIZES))
            insns.append(Insn(isa.LDX | isa.MEM | size, dst, src, rng.randrange(-512, 512)))
        elif kind < 0.8:
            size = rng.choice(tuple(isa.SIZES))
            insns.append(Insn(isa.STX | isa.MEM | size, 10, src, -8 * rng.randrange(1, 64)))
        elif kind < 0.9:
            distance = rng.randrange(min(60, length - len(insns) - 1))
            insns.append(Insn(isa.JMP | rng.choice(tuple(isa.JMP_OPS)), dst, 0, distance, imm))
        elif kind < 0.95:
            insns.append(Insn(isa.JMP | isa.CALL, imm=4096 + rng.randrange(1 << 20) * 4))
        else:
            insns.append(Insn(isa.ALU64 | isa.MOV, dst, 0, 0, imm))
    return encode([*insns, Insn(isa.JMP | isa.EXIT)])


def rate(arch: Arch, length: int, seconds: float) -> float:
    env = JitEnvironment(Kernel(arch), {"__bpf_call_base": CALL_BASE[arch]})
    rng = random.Random(length)
    functions = [LoadedFunction(program(rng, length), 512) for _ in range(PROGRAMS)]
    slots, spent = 0, 0.0
    while spent < seconds:
        start = time.process_time()
        for function in functions:
            compile_function(env, function, CODE[arch])
        spent += time.process_time() - start
        slots += length * PROGRAMS
    return slots / spent


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    for arch in Arch:
        for length in LENGTHS:
            speed = rate(arch, length, seconds)
            print(f"{arch.value:8} programs of {length:5} insns {speed / 1e6:8.2f} M insns/s")


if __name__ == "__main__":
    main()
