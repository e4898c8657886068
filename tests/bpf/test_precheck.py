"""What cannot run is refused before it does, with the place."""

from __future__ import annotations

import dataclasses

import pytest

from tramposim.bpf.asm import assemble
from tramposim.bpf.insn import Insn, encode
from tramposim.bpf.precheck import check_program
from tramposim.errors import TramposimError
from tramposim.spec import ProgKind, Program


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("r0 = 1\n", "instruction 0: control leaves the function"),
        ("r0 = 1\nif r1 > 3 goto +1\nexit\n", "instruction 1: a jump or call to 3"),
        ("goto +1\nr1 = 5 ll\nr0 = 0\nexit\n", "instruction 0: a jump or call to 2"),
        ("call pc+7\nexit\n", "instruction 0: a jump or call to 8"),
        ("r0 = r5\nexit\n", "instruction 0: R5 !read_ok"),
        ("if r1 == 0 goto +1\nr6 = 1\nr0 = r6\nexit\n", "instruction 2: R6 !read_ok"),
        ("r6 = 0\ncall bpf_ktime_get_ns\nr0 = r1\nexit\n", "instruction 2: R1 !read_ok"),
        ("r10 = 5\nexit\n", "instruction 0: frame pointer is read only"),
        ("call 4242\nexit\n", "instruction 0: invalid func unknown#4242"),
    ],
)
def test_refused(text: str, words: str) -> None:
    (program,) = assemble(text)
    with pytest.raises(TramposimError) as raised:
        check_program(program)
    assert words in str(raised.value)


def test_source_lines_are_named() -> None:
    (program,) = assemble("r0 = 0\nr0 = r3\nexit\n")
    program = dataclasses.replace(program, lines=((0, "a.c:1: int f()"), (1, "a.c:2: x = y;")))
    with pytest.raises(TramposimError, match=r"instruction 1 \(a.c:2: x = y;\): R3"):
        check_program(program)


@pytest.mark.parametrize(
    "text",
    [
        "r0 = 0\nexit\n",
        "r6 = r1\ncall f\nr0 += r6\nexit\nf:\nr0 = r5\nexit\n",
        "r0 = 3\nloop:\nr0 -= 1\nif r0 != 0 goto loop\nexit\n",
        "if r1 == 0 goto a\nr7 = 1\ngoto b\na:\nr7 = 2\nb:\nr0 = r7\nexit\n",
    ],
)
def test_let_through(text: str) -> None:
    check_program(*assemble(text))


def test_kernel_functions_need_names() -> None:
    code = encode([Insn(0x85, 0, 2, 0, 7), Insn(0x95)])
    with pytest.raises(TramposimError, match="a kernel function without a name"):
        check_program(Program("p", ProgKind.FSESSION, code))
