"""`tramposim jit`: sources and records."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tramposim.capture.records import Capture, ProgRecord
from tramposim.cli import main

SOURCE = """
.map counts percpu_array key=4 value=8 entries=1
.section fentry/bpf_fentry_test1
first:
    r1 = map[counts] ll
    call bpf_ktime_get_ns
    r0 = 0
    exit
.section fexit/bpf_fentry_test1
second:
    r0 = 0
    exit
"""


def test_listing_names_instructions_calls_and_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "two.bpf"
    source.write_text(SOURCE)
    assert main(["jit", str(source)]) == 0
    out = capsys.readouterr().out
    assert "first (x86_64)" in out
    assert "second (x86_64)" in out
    assert "; map counts" in out
    assert "call bpf_ktime_get_ns" in out
    assert "3: r0 = 0" in out


def test_hex_is_a_line_per_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "two.bpf"
    source.write_text(SOURCE)
    assert main(["jit", str(source), "--hex"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1] == "f30f1efa0f1f4400000f1f00554889e5f30f1efa31c0c9c3cc"


def test_record_hex_is_what_the_kernel_compiled(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared / "golden" / "x86_64-7.0.13-default-jit.jsonl.xz"
    record = next(r for _, r in Capture(path) if isinstance(r, ProgRecord) and len(r.funcs) > 2)
    assert main(["jit", f"{path}#{record.id}", "--hex"]) == 0
    assert capsys.readouterr().out.strip() == record.jited


def test_records_have_a_row_per_instruction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "two.bpf", tmp_path / "two.json"
    source.write_text(SOURCE)
    assert main(["jit", str(source), "--format", "json", "-o", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["schema"] == "tramposim.result/1"
    first, second = found["meta"]["functions"]
    assert (first["program"], second["program"]) == ("first", "second")
    assert second["code"] == "f30f1efa0f1f4400000f1f00554889e5f30f1efa31c0c9c3cc"
    rows = [row for row in found["rows"] if row["program"] == "second"]
    assert "".join(row["code"] for row in rows) == second["code"]
    (move,) = (row for row in rows if row["part"] == "0: r0 = 0")
    assert (move["code"], move["bytes"], move["instructions"]) == ("31c0", 2, 1)
    assert main(["jit", str(source), "--format", "md"]) == 0
    assert "| second | 0 | 0: r0 = 0 |" in capsys.readouterr().out
    assert main(["jit", str(source), "--hex", "--format", "csv"]) == 2
    assert "--hex prints text" in capsys.readouterr().err


def test_a_record_of_a_capture_as_csv(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared / "golden" / "x86_64-7.0.13-default-jit.jsonl.xz"
    record = next(r for _, r in Capture(path) if isinstance(r, ProgRecord) and len(r.funcs) > 2)
    assert main(["jit", f"{path}#{record.id}", "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert "".join(row["code"] for row in rows) == record.jited
    assert {row["function"] for row in rows} == {str(n) for n in range(len(record.funcs))}


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (b"r0 = nonsense\n", 2, "x.bpf:1:6"),
        (b"\x7fELF\x02\x01", 2, "ELF"),
        (b"\xff\xfe", 2, "UTF-8"),
        (b"call bpf_sys_bpf\nexit\n", 3, "bpf_sys_bpf"),
        (b"", 2, "no instructions"),
    ],
)
def test_bad_programs_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, code: int, word: str
) -> None:
    source = tmp_path / "x.bpf"
    source.write_bytes(content)
    assert main(["jit", str(source)]) == code
    err = capsys.readouterr().err
    assert word in err
    assert err.count("\n") == 1
