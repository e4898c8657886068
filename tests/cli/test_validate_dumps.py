"""`validate` on golden code in every form in which tools dump it."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.dumps import boot, bpftool_insns, jit_log, kallsyms, record
from tramposim.cli import main

JIT = {
    "x86_64": "x86_64-7.2.13-default-jit.jsonl.xz",
    "arm64": "arm64-7.2.13-max-jit.jsonl.xz",
}
CALLING = "sweep.helper.14"
"""A program that calls bpf_get_current_pid_tgid and returns 0."""


def json_rows(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["validate", "--format", "json", *arguments]) == code
    return json.loads(capsys.readouterr().out)["rows"]


def functions(program: dict[str, Any]) -> list[bytes]:
    code, start, found = bytes.fromhex(program["jited"]), 0, []
    for length in program["func_lens"]:
        found.append(code[start : start + length])
        start += length
    return found


@pytest.fixture(params=["x86_64", "arm64"])
def program(request: pytest.FixtureRequest, shared: Path, tmp_path: Path) -> dict[str, Any]:
    """A golden program with its symbols and final instructions in files."""
    name = JIT[request.param]
    found = record(shared, name, CALLING)
    found["arch"] = request.param
    found["symbols"] = str(kallsyms(tmp_path / "kallsyms", boot(shared, name)["symbols"]))
    found["prog"] = tmp_path / "prog.bin"
    found["prog"].write_bytes(bytes.fromhex(found["main"]["insnsi"]))
    return found


def test_bpftool_json_against_the_interpreter(
    program: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "p.json"
    insns = bpftool_insns(program["arch"], functions(program)[0], program["ksyms"][0])
    dump.write_text(json.dumps([{"name": "f", "insns": insns}]))
    more = ["--symbols", program["symbols"], "--prog", str(program["prog"])]
    (row,) = json_rows(capsys, str(dump), *more)
    assert (row["arch"], row["kind"]) == (program["arch"], "program")
    assert row["passed"]
    assert row["ways"] >= 20
    assert row["notes"] == []


def test_another_program_is_told_apart(
    program: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "p.json"
    insns = bpftool_insns(program["arch"], functions(program)[0], program["ksyms"][0])
    dump.write_text(json.dumps(insns))
    code = bytearray(program["prog"].read_bytes())
    # r0 = 0 before the exit becomes r0 = 77 (opcode b7).
    code[-16:-8] = struct.pack("<BBhi", 0xB7, 0, 0, 77)
    program["prog"].write_bytes(code)
    more = ["--symbols", program["symbols"], "--prog", str(program["prog"])]
    (row,) = json_rows(capsys, str(dump), *more, code=1)
    assert {v["rule"] for v in row["violations"]} <= {"result", "helper-call", "stores"}
    assert row["counterexample"]


def test_without_ebpf_the_convention_is_checked(
    program: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "p.bin"
    dump.write_bytes(functions(program)[0])
    (row,) = json_rows(capsys, str(dump), "--base", hex(program["ksyms"][0]))
    assert row["passed"]
    assert "--prog compares" in row["notes"][0]


def test_kernel_log(
    program: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "dmesg"
    dump.write_text(jit_log(functions(program)[0], program["ksyms"][0], "[    1.0] "))
    more = ["--symbols", program["symbols"], "--prog", str(program["prog"])]
    (row,) = json_rows(capsys, str(dump), *more)
    assert row["passed"]


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize(
    "case_id", ["n1.bpf_fentry_test1.fs", "n1.bpf_fentry_test1.fe_fx", "n2.bpf_fentry_test1.fx"]
)
def test_image_without_its_inputs(
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arch: str,
    case_id: str,
) -> None:
    name = f"smoke-{arch}.jsonl.xz"
    case = record(shared, name, case_id)
    dump = tmp_path / "image.hex"
    dump.write_text(case["img"])
    symbols = str(kallsyms(tmp_path / "kallsyms", boot(shared, name)["symbols"]))
    (row,) = json_rows(
        capsys, str(dump), "--arch", arch, "--base", hex(case["image"]), "--symbols", symbols
    )
    assert (row["kind"], row["passed"]) == ("image", True)
    broken = bytearray.fromhex(case["img"])
    # Bytes of the last program's call of its exit function become no-operations.
    nops, size = (b"\x90" * 5, 5) if arch == "x86_64" else (bytes.fromhex("1f2003d5"), 4)
    at = bytes(broken).rindex(b"\xe8" if arch == "x86_64" else bytes.fromhex("40013fd6"))
    broken[at : at + size] = nops
    dump.write_text(broken.hex())
    (row,) = json_rows(
        capsys,
        str(dump), "--arch", arch, "--base", hex(case["image"]), "--symbols", symbols,
        code=1,
    )  # fmt: skip
    assert row["violations"]


def test_base_is_recovered_from_calls(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "smoke-x86_64.jsonl.xz"
    case = record(shared, name, "n1.bpf_fentry_test1.fs")
    dump = tmp_path / "image.hex"
    dump.write_text(case["img"])
    symbols = str(kallsyms(tmp_path / "kallsyms", boot(shared, name)["symbols"]))
    (row,) = json_rows(capsys, str(dump), "--symbols", symbols)
    assert (row["kind"], row["passed"]) == ("image", True)


def test_an_address_that_is_not_certain_is_asked_for(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = JIT["x86_64"]
    dump = tmp_path / "p.bin"
    dump.write_bytes(functions(record(shared, name, CALLING))[0])
    symbols = str(kallsyms(tmp_path / "kallsyms", boot(shared, name)["symbols"]))
    assert main(["validate", str(dump), "--symbols", symbols]) == 2
    assert capsys.readouterr().err.endswith("meet symbols: give --base\n")


def test_text_ends_with_the_counts(
    program: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "p.bin"
    dump.write_bytes(functions(program)[0])
    assert main(["validate", str(dump), "--base", hex(program["ksyms"][0])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("p: program: ok (")
    assert lines[-1] == "1 passed, 0 failed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--base", "nowhere"], "'nowhere' is no address"),
        (["--kernel", "5.1"], "kernel '5.1' is not known"),
        (["--symbols", "absent"], "absent: cannot be read: No such file"),
    ],
)
def test_bad_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    dump = tmp_path / "p.bin"
    dump.write_bytes(b"\xc3")
    assert main(["validate", str(dump), *options]) in (2, 3)
    assert words in capsys.readouterr().err
