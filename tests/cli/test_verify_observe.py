import json
import lzma
from pathlib import Path

import pytest

from tramposim.cli import main


def test_smoke_files_observe_the_same(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(shared / "golden" / f"smoke-{arch}.jsonl.xz") for arch in ("x86_64", "arm64")]
    assert main(["verify", "--observe", *files]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "10 passed, 0 failed"


def test_another_observation_is_a_finding(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lzma.open(shared / "golden" / "smoke-x86_64.jsonl.xz", "rt") as stream:
        boot, *records = stream.readlines()
    case = next(json.loads(line) for line in records if "fs.funcarg" in line)
    case["progs"][0]["observed"]["func_ret"] = 3
    path = tmp_path / "changed.jsonl"
    path.write_text(boot + json.dumps(case))
    assert main(["verify", "--observe", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: {case['id']}: observed: p0.func_ret is 0x2, the kernel's 0x3"
    assert lines[-1] == "0 passed, 1 failed"


def test_malformed_observations_name_file_and_line(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lzma.open(shared / "golden" / "smoke-x86_64.jsonl.xz", "rt") as stream:
        boot, *records = stream.readlines()
    case = next(json.loads(line) for line in records if "fs.funcarg" in line)
    del case["progs"][0]["observed"]["entry_slots"]
    path = tmp_path / "malformed.jsonl"
    path.write_text(boot + json.dumps(case))
    assert main(["verify", "--observe", str(path)]) == 2
    assert f"{path}:2" in capsys.readouterr().err
