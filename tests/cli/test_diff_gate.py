"""`tramposim diff` and `tramposim gate` at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main


def test_a_diff_of_scenarios_shows_instructions_and_costs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["diff", "fentry+fexit", "fsession"]) == 0
    text = capsys.readouterr().out
    # facts/trampolines.md: a session clears its slot and marks the return in func_meta
    assert "+ movabs rax, 0x8000000000000001" in text
    assert "call p1" in text
    assert "instructions_per_call" in text


def test_a_diff_of_knobs_shows_return_thunks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "fexit", "--returns", "plain", "--returns", "srso"]) == 0
    text = capsys.readouterr().out
    assert "  - ret" in text
    assert "  + jmp srso_return_thunk" in text


def test_kernels_differ_where_their_images_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "fsession", "--kernel", "7.0", "--kernel", "7.2"]) == 0
    assert "enter fentry[0] (33 -> 38 bytes, +5)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["fsession"],
        ["fsession", "fsession"],
        ["a", "b", "c"],
        ["one.json"],
        ["one.json", "no/such.json"],
        ["fsession", "--kernel", "7.0", "--kernel", "7.1", "--kernel", "7.2"],
    ],
)
def test_refusals_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def base(tmp_path: Path) -> Path:
    target = tmp_path / "base.json"
    words = ["--arch", "x86_64", "--scenario", "fentry", "--proto", "u64 f(s32 a, u8 b)"]
    assert main(["compare", *words, "--format", "json", "-o", str(target)]) == 0
    return target


def test_the_same_version_passes_its_own_gate(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(base), "--max-regression", "0"]) == 0
    assert "none is worse" in capsys.readouterr().out


def test_a_regression_fails_the_gate(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(base.read_text())
    for row in content["rows"]:
        row["cycles_per_call"] *= 0.9
    base.write_text(json.dumps(content))
    assert main(["gate", str(base), "--max-regression", "2%"]) == 1
    assert "cycles_per_call" in capsys.readouterr().out
    assert main(["gate", str(base), "--max-regression", "12"]) == 0


def test_gates_say_what_they_need(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", str(base), "--max-regression", "many"]) == 2
    assert main(["gate", str(base), "--field", "frob"]) == 2
    assert "say which --field" in capsys.readouterr().err


def test_differences_are_records_too(tmp_path: Path) -> None:
    target = tmp_path / "diff.json"
    assert main(["diff", "fentry+fexit", "fsession", "--format", "json", "-o", str(target)]) == 0
    rows = json.loads(target.read_text())["rows"]
    sizes = {row["field"]: (row["before"], row["after"]) for row in rows if row["what"] == "change"}
    # im_size - 64 of n1.bpf_fentry_test1.fe_fx and .fs as a 7.2 kernel captured them
    assert sizes["image_bytes"] == (217, 237)
    parts = {row["part"]: row for row in rows if row["what"] == "part"}
    assert parts["mark return"]["bytes_before"] == 0
    assert parts["mark return"]["instructions_added"] == 2


def test_regressions_are_records_too(base: Path, tmp_path: Path) -> None:
    worse = json.loads(base.read_text())
    for row in worse["rows"]:
        row["cycles_per_call"] *= 1.5
    (tmp_path / "new.json").write_text(json.dumps(worse))
    target = tmp_path / "gate.json"
    words = ["gate", str(base), str(tmp_path / "new.json"), "--format", "json", "-o", str(target)]
    assert main(words) == 1
    found = json.loads(target.read_text())
    assert found["meta"]["command"] == "gate"
    assert {row["percent"] for row in found["rows"]} == {50.0}
