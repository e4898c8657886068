"""`tramposim-bpf-plugin`: the contract of bpf_conformance plugins."""

from __future__ import annotations

import io

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
        (PROGRAM, ("", "--elf"), 3, "ELF"),
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
