"""`tramposim run`: what programs return and leave in their maps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main

SOURCE = """
.map seen array key=4 value=24 entries=1
.section fsession/f
session:
    r6 = r1
    call bpf_session_is_return
    r7 = map[seen][0] ll
    if r0 != 0 goto exiting
    r1 = *(u64 *)(r6 + 0)
    *(u64 *)(r7 + 0) = r1
    r0 = 0
    exit
exiting:
    r1 = *(u64 *)(r6 + 16)
    *(u64 *)(r7 + 16) = r1
    r0 = 0
    exit
.section fmod_ret/f
modify:
    r0 = 0
    exit
"""


def test_a_session_sees_arguments_and_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "s.bpf"
    source.write_text(SOURCE)
    options = ["--proto", "int f(int a, long b)", "--arg", "5", "--arg", "0x10", "--ret", "-2"]
    assert main(["run", str(source), *options, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(run["name"], run["when"]) for run in result["runs"]] == [
        ("session", "entry"),
        ("modify", "fmod_ret"),
        ("session", "exit"),
    ]
    assert result["maps"]["seen"]["00000000"] == "05" + "00" * 15 + "fe" + "ff" * 7


def test_memory_is_given_to_other_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "m.bpf"
    source.write_text("r0 = *(u16 *)(r1 + 1)\nr0 += r2\nexit\n")
    assert main(["run", str(source), "--memory", "112233"]) == 0
    assert f"r0 = {0x3322 + 3}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "options", "code", "word"),
    [
        ("r0 = *(u64 *)(r1 + 0)\nexit", [], 1, "instruction 0"),
        ("goto -1", ["--budget", "10"], 1, "budget"),
        ("call bpf_spin_lock\nexit", [], 3, "bpf_spin_lock"),
        ("exit", ["--memory", "xyz"], 2, "hex"),
        ("exit", ["--arg", "five"], 2, "five"),
        (".section fentry\nexit", ["--arg", "1", "--arg", "2"], 2, "argument values"),
    ],
)
def test_findings_and_bad_input_are_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    options: list[str],
    code: int,
    word: str,
) -> None:
    source = tmp_path / "x.bpf"
    source.write_text(text)
    assert main(["run", str(source), *options]) == code
    err = capsys.readouterr().err
    assert word in err
