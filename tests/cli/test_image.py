import json
import lzma
from pathlib import Path

import pytest

from tramposim.cli import main


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_listing_names_parts_and_targets(arch: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "fsession+cookie+fentry", "--arch", arch]) == 0
    out = capsys.readouterr().out
    for part in ("prologue", "enter fentry[1] (p0)", "body fexit[0] (p0)", "call original"):
        assert f"\n{part}\n" in out
    for target in ("__bpf_tramp_enter", "__bpf_prog_exit_recur", " p1\n", "session cookie 0"):
        assert target in out


def test_layout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "fsession+ip", "--proto", "int f(int, void *)", "--layout"]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[3:]]
    assert ["rbp-0x10", "8", "argument 1"] in rows
    assert ["rbp-0x20", "8", "func_meta"] in rows
    assert ["rbp-0x28", "8", "function address"] in rows


def test_a_record_is_rebuilt_from_its_inputs(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "golden" / "smoke-arm64.jsonl.xz"
    with lzma.open(path) as stream:
        stream.readline()
        case = json.loads(stream.readline())
    assert main(["image", f"{path}#{case['id']}", "--hex"]) == 0
    assert capsys.readouterr().out.strip() == case["img"][: 2 * case["code_len"]]


def test_records_have_the_code_part_by_part(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "golden" / "smoke-arm64.jsonl.xz"
    with lzma.open(path) as stream:
        stream.readline()
        case = json.loads(stream.readline())
    output = tmp_path / "image.json"
    assert main(["image", f"{path}#{case['id']}", "--format", "json", "-o", str(output)]) == 0
    found = json.loads(output.read_text())
    captured = case["img"][: 2 * case["code_len"]]
    assert found["schema"] == "tramposim.result/1"
    assert found["meta"]["code"] == "".join(row["code"] for row in found["rows"]) == captured
    assert found["meta"]["image_bytes"] == sum(row["bytes"] for row in found["rows"])
    assert all(row["bytes"] == 4 * row["instructions"] for row in found["rows"])
    assert main(["image", "fsession", "--layout", "--format", "csv"]) == 0
    assert "func_meta,-24,8" in capsys.readouterr().out
    assert main(["image", "fsession", "--format", "md"]) == 0
    assert "| call original |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fsession", "--hex", "--format", "json"], 2, "--hex prints text"),
        (["fsession", "--format", "json", "-o", "absent/x"], 2, "absent/x: cannot write"),
        (["fsession*19"], 1, "E2BIG"),
        (["fsession", "--kernel", "6.12"], 1, "EINVAL"),
        (["untraced"], 2, "no image"),
        (["fsesion"], 2, "fsesion"),
        (["fsession", "--kernel", "5.4"], 2, "5.4"),
        (["absent.xz#a"], 2, "absent.xz"),
        (["absent.xz#a", "--kernel", "7.0"], 2, "kernel"),
        (["fsession", "--proto", "int f("], 2, "int f("),
    ],
)
def test_refusals(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fexit", "--proto", "void do_exit(long code)"], "__noreturn function 'do_exit'"),
        (["fentry", "--proto", "void migrate_disable(void)"], "'migrate_disable' is rejected"),
        (["fsession", "--kernel", "6.12"], "kernel 6.12 has no fsession programs (EINVAL)"),
        (["fsession*19"], "(E2BIG)"),
    ],
)
def test_what_the_kernel_refuses_is_refused_with_its_words(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", *arguments]) == 1
    assert says in capsys.readouterr().err
