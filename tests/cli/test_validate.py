import json
import lzma
from pathlib import Path

import pytest

from tramposim.cli import main


def changed_case(shared: Path, arch: str, case_id: str, path: Path, change: tuple[str, str]) -> str:
    """A capture with one smoke case, in whose image the hex `change[0]` became `change[1]`."""
    with lzma.open(shared / "golden" / f"smoke-{arch}.jsonl.xz") as stream:
        boot = stream.readline()
        case = next(c for c in map(json.loads, stream) if c["id"] == case_id)
    old, new = change
    assert case["img"].count(old) == 1
    case["img"] = case["img"].replace(old, new)
    case["progs"] = [{**p, "jited": None} for p in case["progs"]]
    path.write_bytes(boot + json.dumps(case).encode())
    return str(path)


def test_smoke_files_pass(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(shared / "golden" / f"smoke-{arch}.jsonl.xz") for arch in ("x86_64", "arm64")]
    assert main(["validate", "--runs", "4", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    passed, failed = lines[-1].split(", ")
    assert failed == "0 failed"
    assert int(passed.split()[0]) == len(lines) - 1 >= 80


@pytest.mark.parametrize(
    ("arch", "case", "change", "rule"),
    [
        # mov rbx, [rbp - x] of the epilogue: reads the slot above
        ("x86_64", "n1.bpf_fentry_test1.fs", ("488b5de0c9c3", "488b5de8c9c3"), "callee-saved"),
        # ldp x29, x30, [sp], #16 of the epilogue: pops 32 bytes
        ("arm64", "n1.bpf_fentry_test1.fs", ("fd7bc1a8fd27c1a8", "fd7bc2a8fd27c1a8"), ""),
    ],
)
def test_a_broken_image_is_a_finding(
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arch: str,
    case: str,
    change: tuple[str, str],
    rule: str,
) -> None:
    path = changed_case(shared, arch, case, tmp_path / "one.jsonl", change)
    assert main(["validate", "--format", "json", path]) == 1
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    rules = {violation["rule"] for violation in row["violations"]}
    assert rules
    assert not rule or rules == {rule}
    assert all(v["instruction"] and v["path"] for v in row["violations"])


def test_an_unknown_record(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared / "golden" / "smoke-arm64.jsonl.xz"
    assert main(["validate", f"{path}#absent"]) == 2
    assert capsys.readouterr().err.endswith("no record with id 'absent'\n")
