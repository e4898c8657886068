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
    # An int comes in the lower half of the register, as compilers leave it.
    assert result["maps"]["seen"]["00000000"] == "05" + "00" * 15 + "feffffff" + "00" * 4
    assert result["returned"] == [{"call": 1, "function": "f", "value": 0xFFFFFFFE}]


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
        ("call bpf_fib_lookup\nexit", [], 3, "bpf_fib_lookup"),
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


STATEFUL = """
.map starts hash key=8 value=8 entries=16
.map seen array key=4 value=32 entries=1
.section fsession/f
session:
    r6 = r1
    call bpf_session_cookie
    r7 = r0
    r1 = r6
    call bpf_session_is_return
    r8 = map[seen][0] ll
    if r0 != 0 goto exiting
    call bpf_ktime_get_ns
    *(u64 *)(r7 + 0) = r0
    call bpf_get_current_pid_tgid
    *(u64 *)(r10 - 8) = r0
    r1 = map[starts] ll
    r2 = r10
    r2 += -8
    r3 = r7
    r4 = 0
    call bpf_map_update_elem
    r1 = *(u64 *)(r6 + 8)
    r1 = *(u32 *)(r1 + 4)
    *(u64 *)(r8 + 0) = r1
    r0 = 0
    exit
exiting:
    call bpf_ktime_get_ns
    r1 = *(u64 *)(r7 + 0)
    r0 -= r1
    *(u64 *)(r8 + 8) = r0
    r1 = *(u64 *)(r6 + 16)
    *(u64 *)(r8 + 16) = r1
    r0 = 0
    exit
.section fmod_ret/f
modify:
    r1 = map[seen][0] ll
    r2 = *(u64 *)(r1 + 24)
    r2 += 1
    *(u64 *)(r1 + 24) = r2
    r0 = 0
    if r2 != 3 goto out
    r0 = -7
out:
    exit
"""


def test_all_engines_agree_on_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "s.bpf"
    source.write_text(STATEFUL)
    options = ["--proto", "int f(short a, void *b)", "--arg", "-1", "--arg", "mem:0000000078563412"]
    options += ["--ret", "-2", "--calls", "3", "--engine", "all"]
    assert main(["run", str(source), *options, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [run["engine"] for run in (result, *result["others"])] == ["interp", "x86_64", "arm64"]
    for engine in (result, *result["others"]):
        # The third fmod_ret program replaces the call; programs at exit see its value.
        returned = [call["value"] for call in engine["returned"]]
        assert returned == [0xFFFFFFFE, 0xFFFFFFFE, 0xFFFFFFF9]
        values = [run["r0"] & 0xFFFFFFFF for run in engine["runs"] if run["when"] == "fmod_ret"]
        assert values == [0, 0, 0xFFFFFFF9]
        assert [run["when"] for run in engine["runs"]] == ["entry", "fmod_ret", "exit"] * 3
        seen = bytes.fromhex(engine["maps"]["seen"]["00000000"])
        words = [int.from_bytes(seen[at : at + 8], "little") for at in range(0, 32, 8)]
        assert words[0] == 0x12345678
        assert words[2] & 0xFFFFFFFF == 0xFFFFFFF9
        assert words[3] == 3
        assert list(engine["maps"]["starts"]) == ["e8030000e8030000"]
    assert main(["run", str(source), *options]) == 0
    assert "interpreter, x86_64 and arm64 agree" in capsys.readouterr().out


def test_a_program_that_sees_addresses_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "d.bpf"
    source.write_text(".section fentry/f\np:\nr0 = r10\nexit\n")
    assert main(["run", str(source), "--proto", "void f(void)", "--engine", "all"]) == 1
    out = capsys.readouterr().out
    assert "DIFFERENCE x86_64: call 1: p at entry left r0 =" in out
    assert "DIFFERENCE arm64" in out


@pytest.mark.parametrize("engine", ["interp", "x86_64", "arm64"])
def test_test_functions_get_what_the_kernels_test_run_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    source = tmp_path / "t.bpf"
    source.write_text(".section fexit/bpf_modify_return_test\np:\nr0 = *(u64 *)(r1 + 16)\nexit\n")
    assert main(["run", str(source), "--engine", engine, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    # bpf_modify_return_test(1, &two) adds 1 to what it is pointed to, then returns the sum.
    assert [call["value"] for call in result["returned"]] == [1 + 3]
    assert result["runs"][0]["r0"] == 4


@pytest.mark.parametrize(
    ("text", "options", "code", "words"),
    [
        ("", [], 2, ["x.bpf"]),
        ("\0\1\2", [], 2, ["x.bpf"]),
        (".section fentry/nosuch\nexit", [], 2, ["nosuch", "--proto", "--btf"]),
        (
            ".section fentry/a\nexit\n.section fexit/b\nexit",
            ["--arg", "1"],
            2,
            ["a, b", "--function"],
        ),
        (".section fentry/a\nexit\n.section fexit/b\nexit", [], 2, ["prototype of a"]),
        (".section fentry/a\nexit", ["--function", "b"], 2, ["no program traces b"]),
        (".section fentry/a\nexit", ["--proto", "int b(void)"], 2, ["no program traces b"]),
        (".section fentry/a\nexit", ["--proto", "int a("], 2, ["--proto"]),
        (".section fsession/bpf_fentry_test1\nexit", ["--kernel", "6.12"], 1, ["EINVAL"]),
        (".section fentry/bpf_fentry_test1\nexit", ["--kernel", "9.9"], 2, ["9.9"]),
        (".section fexit/do_exit\nexit", ["--proto", "void do_exit(long c)"], 1, ["noreturn"]),
        (".section fentry/bpf_fentry_test1\nexit", ["--arg", "0x100000000"], 2, ["argument 1"]),
        (".section fentry/bpf_fentry_test1\nexit", ["--arg", "mem:00"], 2, ["argument 1"]),
        (".section fentry/bpf_fentry_test1\nexit", ["--arg", "mem:0"], 2, ["--arg", "not hex"]),
        (".section fentry/bpf_fentry_test1\nexit", ["--calls", "0"], 2, ["0 calls"]),
        (".section fentry/a\nexit", ["--proto", "void a(int x)", "--ret", "1"], 2, ["--ret"]),
        (".section xdp\nexit", [], 3, ["xdp"]),
        (".section fentry/bpf_fentry_test1\nr0 = *(u64 *)(r1 + 16)\nexit", [], 1, ["EACCES"]),
        (".section fentry/bpf_fentry_test1\ncall bpf_session_is_return\nexit", [], 1, ["EACCES"]),
    ],
)
def test_what_cannot_run_is_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    options: list[str],
    code: int,
    words: list[str],
) -> None:
    source = tmp_path / "x.bpf"
    source.write_text(text)
    assert main(["run", str(source), *options]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("name", ["missing.bpf", "."])
def test_what_is_no_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["run", str(tmp_path / name)]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err


def test_what_a_kernel_would_not_load_or_print_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "n.bpf"
    text = """
.section fentry/bpf_fentry_test1
p:
    r1 = 0x6625 ll
    *(u64 *)(r10 - 8) = r1
    r1 = r10
    r1 += -8
    r2 = 8
    call bpf_trace_printk
    r0 = 7
    exit
"""
    source.write_text(text)
    assert main(["run", str(source), "--engine", "all"]) == 0
    out = capsys.readouterr().out
    assert "note: bpf_trace_printk refuses the format '%f' (EINVAL)" in out
    assert "note: p: a kernel refuses to load it: At program exit the register R0" in out


def test_patterns_stand_for_the_known_functions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "m.bpf"
    source.write_text(".section fsession.multi/bpf_fentry_test?\np:\nr0 = 0\nexit\n")
    assert main(["run", str(source), "--engine", "all", "--kernel", "7.3", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    functions = [call["function"] for call in result["returned"]]
    assert functions == [f"bpf_fentry_test{number}" for number in range(1, 10)]
    assert len(result["runs"]) == 2 * 9
    source.write_text(".section fsession.multi/nothing_?\np:\nr0 = 0\nexit\n")
    assert main(["run", str(source)]) == 2
    assert "nothing_?" in capsys.readouterr().err
