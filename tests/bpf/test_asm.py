"""The assembler and disassembler against RFC 9669 encodings and kernel-accepted programs."""

from __future__ import annotations

import lzma
from pathlib import Path

import msgspec
import pytest

from tramposim.bpf.asm import assemble
from tramposim.bpf.disasm import disassemble, disassemble_program
from tramposim.bpf.insn import decode
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import MapType, ProgKind

ENCODINGS = [
    ("r1 = 5", "b701000005000000"),
    ("w1 = -1", "b4010000ffffffff"),
    ("r1 += r2", "0f21000000000000"),
    ("w3 s>>= 4", "c403000004000000"),
    ("r3 s/= r4", "3f43010000000000"),
    ("w3 s%= 7", "9403010007000000"),
    ("r2 = -r2", "8702000000000000"),
    ("r1 = (s16)r2", "bf21100000000000"),
    ("w1 = (s8)w2", "bc21080000000000"),
    ("r1 = be16 r1", "dc01000010000000"),
    ("r1 = le32 r1", "d401000020000000"),
    ("r1 = bswap64 r1", "d701000040000000"),
    ("r1 = *(u64 *)(r2 + 8)", "7921080000000000"),
    ("r1 = *(s8 *)(r2 - 1)", "9121ffff00000000"),
    ("*(u32 *)(r10 - 4) = r1", "631afcff00000000"),
    ("*(u8 *)(r1 + 0) = 7", "7201000007000000"),
    ("lock *(u64 *)(r1 + 0) += r2", "db21000000000000"),
    ("r2 = atomic64_fetch_add((u64 *)(r1 + 0), r2)", "db21000001000000"),
    ("r2 = atomic_xchg((u32 *)(r1 + 4), r2)", "c3210400e1000000"),
    ("r0 = atomic64_cmpxchg((u64 *)(r1 + 0), r0, r2)", "db210000f1000000"),
    ("r1 = load_acquire((u32 *)(r2 + 0))", "c321000000010000"),
    ("store_release((u8 *)(r1 + 0), r2)", "d321000010010000"),
    ("if r1 s> -7 goto +3", "65010300f9ffffff"),
    ("if w1 & w2 goto -1", "4e21ffff00000000"),
    ("goto +2", "0500020000000000"),
    ("gotol -3", "06000000fdffffff"),
    ("may_goto +1", "e500010000000000"),
    ("call bpf_ktime_get_ns", "8500000005000000"),
    ("call pc+3", "8510000003000000"),
    ("callx r3", "8d03000000000000"),
    ("exit", "9500000000000000"),
    ("r1 = 0x1122334455667788 ll", "18010000887766550000000044332211"),
]


@pytest.mark.parametrize(("text", "hexadecimal"), ENCODINGS)
def test_encoding_and_its_inverse(text: str, hexadecimal: str) -> None:
    (program,) = assemble(text)
    assert program.insns.hex() == hexadecimal
    assert disassemble(program.insns)[0] == text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("r1 = 5\nr13 = 1", "f:2:1"),
        ("goto nowhere", "f:1:6"),
        ("r1 = map[m] ll", "f:1:10"),
        (".map m hash key=8 value=8", "f:1:26"),
        ("r1 = 0x100000000", "f:1:6"),
        ("r1 += w2", "f:1:7"),
        ("r1 ? 2", "f:1:4"),
        (".section nonsense/x", "f:1:10"),
        ("a: exit\na: exit", "f:2:1"),
        ("*(u64 *)(r1 + 40000) = 0", "f:1:13"),
    ],
)
def test_errors_name_the_place(text: str, place: str) -> None:
    with pytest.raises(InputError, match=f"^{place}: "):
        assemble(text, "f")


def test_sections_and_maps() -> None:
    text = """
    .map starts hash key=8 value=8 entries=16
    .map unused array key=4 value=8 entries=1
    .section fentry.s/vfs_read
    first: r1 = map[starts] ll
        call bpf_session_cookie
        if r0 != 0 goto out
    out: exit
    .section fsession
        exit
    """
    first, second = assemble(text)
    assert (first.name, first.kind, first.sleepable) == ("first", ProgKind.FENTRY, True)
    assert first.target == "vfs_read"
    assert [(m.name, m.type) for m in first.maps] == [("starts", MapType.HASH)]
    assert first.kfuncs == ((2, "bpf_session_cookie"),)
    assert (second.name, second.kind, second.maps) == ("fsession", ProgKind.FSESSION, ())
    assert assemble(disassemble_program(first)) == (first,)


def test_dump_prefixes_are_skipped() -> None:
    (program,) = assemble("0: (b7) r0 = 0\n       1:\t95 00 00 00 00 00 00 00\texit")
    assert program.insns.hex() == "b7000000000000009500000000000000"


def test_unknown_opcode_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="ff"):
        disassemble(bytes.fromhex("ff00000000000000"))


def test_round_trip_of_programs_that_kernels_loaded(shared: Path) -> None:
    path = shared / "golden" / "x86_64-7.0.13-default-jit.jsonl.xz"
    with lzma.open(path, "rt") as lines:
        records = [msgspec.json.decode(line) for line in lines]
    checked = 0
    for record in records[1:]:
        code = bytes.fromhex(record["insns"])
        if any(insn.src and insn.opcode in (0x18, 0x85) for insn in decode(code)):
            continue
        (program,) = assemble("\n".join(disassemble(code)))
        assert program.insns == code
        checked += 1
    assert checked > 10
