"""Texts in both syntaxes give back exactly the instructions that they were made from."""

from __future__ import annotations

import lzma
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.insns import pack, random_instruction

from tramposim.bpf.asm import assemble
from tramposim.bpf.disasm import disassemble
from tramposim.bpf.mnemonics import assemble_mnemonics, disassemble_mnemonics
from tramposim.errors import UnsupportedError

SYNTAXES: dict[str, tuple[Callable[[bytes], list[str]], Callable[[str], bytes]]] = {
    "kernel": (disassemble, lambda text: assemble(text)[0].insns),
    "mnemonics": (disassemble_mnemonics, assemble_mnemonics),
}
RECORDS = ("x86_64-7.0.13-default-jit", "arm64-7.2.13-a72-jit")
MORE = ("x86_64-7.2.13-default-jit", "arm64-7.2.13-max-jit", "x86_64-6.12.107-default-jit")

syntaxes = pytest.mark.parametrize("syntax", SYNTAXES)


def same(syntax: str, code: bytes) -> bool:
    to_text, to_code = SYNTAXES[syntax]
    return to_code("\n".join(to_text(code))) == code


@syntaxes
def test_random_instructions(syntax: str) -> None:
    rng = random.Random(5)
    for _ in range(40):
        code = b"".join(random_instruction(rng) for _ in range(100))
        if not same(syntax, code):
            pieces = [code[i : i + 8] for i in range(0, len(code), 8)]
            assert [
                one.hex() for one in pieces if one[0] not in (0, 0x18) and not same(syntax, one)
            ]
            raise AssertionError(code.hex())


@syntaxes
@pytest.mark.parametrize(
    "code",
    [
        pack(0xBC, 1, 1, 0, 1),  # the verifier's zero extension
        pack(0x85, 0, 1, 2, 77),  # a linked call holds the function's number, too
        pack(0x0F, 1, 2, 0, 5),
        pack(0x95, 3, 1, 4, -5),
        pack(0x6D, 1, 2, 3, 9),
    ],
)
def test_reserved_fields_are_kept(syntax: str, code: bytes) -> None:
    assert same(syntax, code)


@syntaxes
@pytest.mark.parametrize(
    "code",
    [
        pack(0x8C, 1), pack(0xBF, 1, 2, 7), pack(0x37, 1, 0, 2, 3), pack(0xDF, 1, imm=16),
        pack(0xD7, 1, imm=24), pack(0x99, 1, 2), pack(0xDB, 1, 2, 0, 0x60), pack(0xD3, 1, 2, 0, 1),
        pack(0x8E), pack(0x85, 0, 3), pack(0x38), pack(0x18, 1, 7) + pack(0), pack(0xFF),
        pack(0x18, 1) + pack(0, 1), pack(0x1D | 0xE0, 1),
    ],
)  # fmt: skip
def test_what_is_no_instruction_is_refused(syntax: str, code: bytes) -> None:
    with pytest.raises(UnsupportedError, match=r"unknown eBPF instruction|behind a 64-bit"):
        SYNTAXES[syntax][0](code)


@syntaxes
@pytest.mark.parametrize(
    "name", [*RECORDS, *(pytest.param(n, marks=pytest.mark.slow) for n in MORE)]
)
def test_instructions_of_captured_programs(shared: Path, syntax: str, name: str) -> None:
    """As given to the kernel, as it shows them, and as its JIT got them."""
    with lzma.open(shared / "golden" / f"{name}.jsonl.xz", "rt") as lines:
        _, *records = [msgspec.json.decode(line) for line in lines]
    checked = 0
    for record in records[:: 1 if name in MORE else 5]:
        codes = [record["insns"], record.get("xlated")]
        codes += [one["insnsi"] for one in record.get("funcs") or [record.get("main") or {}] if one]
        for code in filter(None, codes):
            assert same(syntax, bytes.fromhex(code)), record["id"]
            checked += 1
    assert checked > 100
