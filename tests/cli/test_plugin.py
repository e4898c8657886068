"""`tramposim-bpf-plugin`: the contract of bpf_conformance plugins."""

from __future__ import annotations

import io
import struct

import pytest

from tramposim.cli.plugin import main

# r0 = *(u8 *)(r1 + 1); r0 += r2; exit
PROGRAM = "71 10 01 00  00 00 00 00\n0f 20 00 00 00 00 00 00 95 00 00 00 00 00 00 00 \n"
ENGINES = ["", "--engine interp", "--arch x86_64 --engine jit", "--arch arm64 --engine jit"]


def plugin(monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(arguments)


@pytest.mark.parametrize("options", ENGINES)
def test_prints_r0_in_hex(
    options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # the runner passes all options in one argument, and spaces between the bytes
    assert plugin(monkeypatch, PROGRAM, "aa  bb  cc ", options) == 0
    assert capsys.readouterr().out == "be\n"
    assert plugin(monkeypatch, PROGRAM, *options.split(), "aabbcc") == 0
    assert capsys.readouterr().out == "be\n"


@pytest.mark.parametrize("options", ENGINES)
def test_negative_results_have_64_bits_and_no_memory_is_allowed(
    options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    minus_one = "b7000000ffffffff9500000000000000"
    assert plugin(monkeypatch, minus_one, "", options) == 0
    assert capsys.readouterr().out == "ffffffffffffffff\n"


@pytest.mark.parametrize(
    ("text", "arguments", "code", "says"),
    [
        ("zz", (), 2, "the program is not hex"),
        ("", (), 2, "without instructions"),
        ("b700", (), 2, "8 bytes each"),
        (PROGRAM, ("0x",), 2, "the memory is not hex"),
        (PROGRAM, ("", "--arch vax"), 2, "vax"),
        (PROGRAM, ("", "--elf"), 2, "ELF"),
        ("8500000042000000" + "9500000000000000", (), 3, "not available"),
        ("79100000000000009500000000000000", (), 1, "load of 8 bytes"),
    ],
)
def test_failures_are_one_line_on_stderr(
    text: str,
    arguments: tuple[str, ...],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert plugin(monkeypatch, text, *arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert says in printed.err


def relocatable(name: bytes, code: bytes) -> bytes:
    """An ELF object of one program section (System V ABI), as writers without symbols make it."""
    names = b"\0" + name + b"\0.shstrtab\0"
    end = 64 + len(code) + len(names)
    table = end + -end % 8
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 1, 247, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2
    )
    sections = (
        (0,) * 10,
        (1, 1, 6, 0, 64, len(code), 0, 0, 8, 0),
        (len(name) + 2, 3, 0, 0, 64 + len(code), len(names), 0, 0, 1, 0),
    )
    body = header + code + names + bytes(-end % 8)
    return body + b"".join(struct.pack("<IIQQQQIIQQ", *fields) for fields in sections)


@pytest.mark.parametrize("options", ENGINES)
@pytest.mark.parametrize("name", [b".text", b"xdp", b"anything"])
def test_objects(
    name: bytes, options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = relocatable(name, bytes.fromhex("".join(PROGRAM.split()))).hex(" ")
    assert plugin(monkeypatch, text, "aa  bb  cc ", *options.split(), "--elf") == 0
    assert capsys.readouterr().out == "be\n"


def test_the_program_can_be_an_argument(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the public plugins take it: before the memory, with their option --debug."""
    assert plugin(monkeypatch, "", "--program", PROGRAM, "01 02", "--debug") == 0
    assert capsys.readouterr().out == "4\n"
