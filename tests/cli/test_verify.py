import json
import lzma
from pathlib import Path

import pytest

from tramposim.cli import main


def test_smoke_files_pass(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(shared / "golden" / f"smoke-{arch}.jsonl.xz") for arch in ("x86_64", "arm64")]
    assert main(["verify", *files]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    passed, failed = last.split(", ")
    assert failed == "0 failed"
    assert int(passed.split()[0]) >= 32


def test_a_changed_byte_is_a_finding(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lzma.open(shared / "golden" / "smoke-x86_64.jsonl.xz") as stream:
        boot, case = stream.readline(), json.loads(stream.readline())
    case["img"] = case["img"][:20] + "ff" + case["img"][22:]
    case["progs"] = [{**p, "jited": None} for p in case["progs"]]
    path = tmp_path / "changed.jsonl"
    path.write_bytes(boot + json.dumps(case).encode())
    assert main(["verify", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: {case['id']}: image: offset 0xa: built ")
    assert lines[-1] == "0 passed, 1 failed"


def test_records_have_a_row_per_check(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lzma.open(shared / "golden" / "smoke-x86_64.jsonl.xz") as stream:
        boot, line = stream.readline(), stream.readline()
    case = json.loads(line)
    changed = case | {"id": "changed", "img": case["img"][:20] + "ff" + case["img"][22:]}
    path, output = tmp_path / "two.jsonl", tmp_path / "verify.json"
    path.write_bytes(boot + line + json.dumps(changed).encode())
    assert main(["verify", str(path), "--format", "json", "-o", str(output)]) == 1
    found = json.loads(output.read_text())
    assert found["schema"] == "tramposim.result/1"
    assert found["meta"]["failed"] == 1
    assert found["meta"]["passed"] == len(found["rows"]) - 1
    (row,) = (row for row in found["rows"] if not row["passed"])
    assert (row["file"], row["id"], row["subject"]) == (str(path), "changed", "image")
    assert row["offset_bytes"] == 10
    assert bytes.fromhex(row["captured"]).find(0xFF) >= 0
    assert row["built"] in case["img"]
    assert row["built_bytes"] == row["captured_bytes"] > 100
    assert main(["verify", str(path), "--format", "md"]) == 1
    assert "| changed | image |" in capsys.readouterr().out
    assert main(["verify", str(path), "-o", str(output)]) == 1
    assert output.read_text().count("\n") == 2
    assert capsys.readouterr().out == ""


def test_unreadable_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "absent.jsonl"]) == 2
    assert (
        capsys.readouterr().err
        == "tramposim: absent.jsonl: cannot be read: No such file or directory\n"
    )
