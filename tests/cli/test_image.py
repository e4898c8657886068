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
    import json
    import lzma

    path = shared / "golden" / "smoke-arm64.jsonl.xz"
    with lzma.open(path) as stream:
        stream.readline()
        case = json.loads(stream.readline())
    assert main(["image", f"{path}#{case['id']}", "--hex"]) == 0
    assert capsys.readouterr().out.strip() == case["img"][: 2 * case["code_len"]]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
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
