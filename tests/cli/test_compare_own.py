"""`tramposim compare PROG`: a user's programs define the scenarios."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main

TWO = """
.section fentry/bpf_fentry_test1
before:
    r0 = 0
    exit
.section fexit/bpf_fentry_test1
after:
    r0 = 0
    exit
.section fsession/bpf_fentry_test1
around:
    r0 = 0
    exit
.section fsession/icmp_rcv
other:
    r0 = 0
    exit
"""


def test_every_function_has_its_table_and_pairs_meet_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "two.bpf"
    source.write_text(TWO)
    assert main(["compare", str(source), "--arch", "x86_64"]) == 0
    out = capsys.readouterr().out
    assert "two.bpf: bpf_fentry_test1 on x86_64" in out
    assert "two.bpf: icmp_rcv on x86_64" in out
    assert "the pair (before + after) needs" in out
    assert main(["compare", str(source), "--function", "icmp_rcv", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {row["function"] for row in result["rows"]} == {"icmp_rcv"}
    assert [row["role"] for row in result["rows"]] == ["untraced", "alone"] * 2


@pytest.mark.parametrize(
    ("text", "options", "code", "words"),
    [
        (".section fentry/nosuch\nr0 = 0\nexit", [], 2, ["nosuch", "--proto"]),
        (".section xdp\nr0 = 0\nexit", [], 3, ["xdp"]),
        ("r0 = 0\nexit", [], 3, ["trace"]),
        (TWO, ["--scenario", "fentry"], 2, ["--scenario"]),
        (TWO, ["--proto", "int g(int a)"], 2, ["no program traces g"]),
        (TWO, ["--function", "icmp_rcv", "--kernel", "6.12"], 1, ["other", "EINVAL"]),
        (
            ".section fentry/bpf_fentry_test1\nr0 = 0\nr1 = r10\nr2 = 0\ncall bpf_trace_printk\n"
            "r0 = 0\nexit",
            ["--cost", "bpf_printk=many"],
            2,
            ["HELPER=CYCLES"],
        ),
    ],
)
def test_what_cannot_be_compared_is_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    options: list[str],
    code: int,
    words: list[str],
) -> None:
    source = tmp_path / "x.bpf"
    source.write_text(text)
    assert main(["compare", str(source), *options]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("name", ["missing.bpf", "missing.c", "missing.o"])
def test_missing_files_are_named(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["compare", name]) == 2
    assert name in capsys.readouterr().err


def test_options_of_programs_need_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--cost", "bpf_printk=1"]) == 2
    assert main(["compare", "--btf", "vmlinux"]) == 2
