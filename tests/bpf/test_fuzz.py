"""Damaged text and random instructions: named errors only."""

from __future__ import annotations

import contextlib
import random
from importlib import resources
from pathlib import Path

from support.insns import random_instruction

from tramposim.bpf.asm import assemble
from tramposim.bpf.conformance import parse_conformance
from tramposim.bpf.disasm import disassemble, disassemble_program
from tramposim.bpf.fixup import FixupEnvironment, fixup
from tramposim.bpf.host import Host, TracedCall
from tramposim.bpf.loaded import LoadedFunction
from tramposim.bpf.mnemonics import disassemble_mnemonics
from tramposim.errors import TramposimError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.program import compile_function
from tramposim.spec import Arch, Kernel, ProgKind, Program

ROUNDS = 150
SYMBOLS = {"__bpf_call_base": 0xFFFF800080000000, "bpf_ktime_get_ns": 0xFFFF800080001000}
WORDS = "r0 w2 r10 map [ ] ( * + - s/= u64 ll goto if call exit .map ; # : ,"
PIECES = WORDS.split(" ")


def sources() -> list[str]:
    bodies = resources.files("tramposim.study.bodies")
    return [file.read_text() for file in bodies.iterdir() if file.name.endswith(".bpf")]


def use(program: Program, rng: random.Random) -> None:
    """Everything that a program can be put to."""
    arch = rng.choice(tuple(Arch))
    places = {declared.name: 0xFFFF000000000000 for declared in program.maps}
    with contextlib.suppress(TramposimError):
        disassemble_program(program)
    with contextlib.suppress(TramposimError):
        fixup(program, FixupEnvironment(Kernel(arch), SYMBOLS, places))
    host = Host()
    with contextlib.suppress(TramposimError):
        host.run(program, TracedCall(host.memory, (1, 2), 3), budget=500)


def test_damaged_text() -> None:
    rng = random.Random(1)
    texts = sources()
    for _ in range(ROUNDS):
        text = list(rng.choice(texts))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(8)] = (
                f" {rng.choice(PIECES)} " if rng.random() < 0.6 else ""
            )
        with contextlib.suppress(TramposimError):
            for program in assemble("".join(text)):
                use(program, rng)


def test_random_instructions() -> None:
    rng = random.Random(2)
    for _ in range(ROUNDS):
        code = rng.randbytes(8 * rng.randrange(1, 12))
        use(Program("x", rng.choice(tuple(ProgKind)), code), rng)
        for to_text in (disassemble, disassemble_mnemonics):
            with contextlib.suppress(TramposimError):
                to_text(code)
        for arch in Arch:
            env = JitEnvironment(Kernel(arch), SYMBOLS)
            function = LoadedFunction(code, rng.choice((0, 8, 512)), rng.random() < 0.3)
            with contextlib.suppress(TramposimError):
                compile_function(env, function, 0xFFFF800080002000, rng.random() < 0.5)


MARKS = (
    "%r1 r16 [%r1+8] [r10-] , lock fetch -- asm raw mem result : +1 0x 0x1ffffffffffffffff { = }"
)


def test_damaged_conformance_tests() -> None:
    rng = random.Random(3)
    folder = Path(__file__).parent / "conformance"
    texts = [path.read_text() for path in sorted(folder.glob("*.data"))]
    for _ in range(ROUNDS):
        text = list(rng.choice(texts))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(8)] = (
                f" {rng.choice(MARKS.split())} " if rng.random() < 0.6 else ""
            )
        with contextlib.suppress(TramposimError):
            test = parse_conformance("".join(text))
            use(Program("x", ProgKind.SOCKET, test.code), rng)


def test_random_valid_instructions() -> None:
    """Instructions that exist, in an order that makes no sense."""
    rng = random.Random(4)
    for _ in range(ROUNDS):
        code = b"".join(random_instruction(rng) for _ in range(rng.randrange(1, 12)))
        use(Program("x", rng.choice(tuple(ProgKind)), code), rng)
