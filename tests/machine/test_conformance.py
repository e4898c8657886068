"""Tests of our own in the form of the public conformance suite, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tramposim.bpf.conformance import parse_conformance
from tramposim.errors import InputError
from tramposim.machine.bare import BareResult, compile_and_run, interpret_bare
from tramposim.spec import Arch, Kernel

FILES = sorted((Path(__file__).parent.parent / "bpf" / "conformance").glob("*.data"))
ENGINES: dict[str, Callable[[bytes, bytes], BareResult]] = {
    "interpreter": interpret_bare,
    "x86_64": lambda code, memory: compile_and_run(Kernel(Arch.X86_64), code, memory),
    "arm64": lambda code, memory: compile_and_run(Kernel(Arch.ARM64), code, memory),
    "arm64, 7.0 without LSE": lambda code, memory: compile_and_run(
        Kernel(Arch.ARM64, "7.0", lse=False), code, memory
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_results(engine: str) -> None:
    wrong = []
    for path in FILES:
        test = parse_conformance(path.read_text(), path.name)
        value = ENGINES[engine](test.code, test.memory).value
        if value != test.result:
            wrong.append((path.name, hex(value)))
    assert wrong == []
    assert len(FILES) > 40


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-- asm\nexit", "^f: a test without result"),
        ("-- result\n1", "^f: a test without instructions"),
        ("-- asm\nmov %r0\n-- result\n1", "^f:2: mov takes 2 operands"),
        ("-- asm\n\nja nowhere\n-- result\n1", "^f:3: label 'nowhere'"),
        ("-- asm\nmov %r16, 1", "^f:2: '%r16' is no register"),
        ("-- asm\nfoo %r1, 1", "^f:2: unknown instruction 'foo'"),
        ("-- asm\na:\na: exit", "^f:3: label 'a' is defined twice"),
        ("-- asm\nldxw %r1, [%r2+70000]", "^f:2: offset 70000"),
        ("-- asm\nexit\n-- what\n", "^f:3: unknown section 'what'"),
        ("-- asm\nexit\n-- mem\n0g\n-- result\n1", "^f:4: '0g'"),
        ("-- raw\n12x\n-- result\n1", "^f:2: '12x'"),
        ("-- asm\nexit\n-- result\n1\n2", "^f:5: more than one"),
        ("-- asm\nexit\n-- result\n0x10000000000000000", "^f:4: .* 64 bits"),
        ("-- asm\nexit\n-- asm\nexit\n", "^f:3: a second"),
    ],
)
def test_errors_name_the_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_conformance(text, "f")


def test_error_sections_are_read() -> None:
    test = parse_conformance("-- asm\ncall runtime 3\nexit\n-- result\n0x0\n-- error\n")
    assert (test.result, test.error) == (0, "")
    assert parse_conformance("-- raw\n149\n-- error\nbad  call\n").error == "bad  call"


def test_immediates_and_spacing_of_the_public_syntax() -> None:
    """64-bit numbers are cut to the field, `exit` names the first exit, blanks are free."""
    text = "-- asm\nmov32 r1, 0x876543210\nldxdw %r2,[ %r1 + 8 ]\nja exit # go\nexit\n-- result\n0"
    code = parse_conformance(text).code.hex()
    assert code == "b401000010325476791208000000000005000000000000009500000000000000"
