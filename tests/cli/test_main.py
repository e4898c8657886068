"""The frame that all commands share: help, exit codes, one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tramposim.cli import COMMANDS, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    assert f"tramposim {name}" in capsys.readouterr().out.split("Example", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["compare", "--frob"], "--frob"),
        (["compare", "--format", "xml"], "'xml'"),
        (["compare", "--core", "pentium"], "pentium"),
        (["compare", "--kernel", "2.4"], "2.4"),
        (["compare", "--scenario", "fsesion"], "unknown word 'fsesion'"),
        (["compare", "no/such/workload.toml"], "no/such/workload.toml"),
        (["load", "no/such/workload.toml"], "no/such/workload.toml"),
        (["image", "fsesion"], "unknown word 'fsesion'"),
        (["verify", "no/such/capture.jsonl.xz"], "no/such/capture.jsonl.xz"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("tramposim: ")
    assert says in printed.err


def test_help_does_not_import_the_heavy_libraries() -> None:
    code = (
        "import sys; from tramposim.cli import main; main(['--help']);"
        "heavy = {'unicorn', 'capstone', 'numpy', 'simpy', 'matplotlib', 'elftools', 'rich'};"
        "sys.exit(len(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("missing", [False, True])
def test_what_the_doctor_finds_as_records(
    missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing:
        monkeypatch.setattr("tramposim.study.doctor._LIBRARIES", ("unicorn", "no-such-library"))
    output = tmp_path / "doctor.json"
    assert main(["doctor", "--format", "json", "-o", str(output)]) == int(missing)
    found = json.loads(output.read_text())
    assert found["schema"] == "tramposim.result/1"
    failed = [row["what"] for row in found["rows"] if not row["passed"]]
    assert failed == ["library no-such-library"] * missing
    assert found["meta"]["failed"] == len(failed)
    assert main(["doctor", "-o", str(output)]) == int(missing)
    assert output.read_text().count("FAIL ") == len(failed)


def test_a_missing_library_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tramposim.study.doctor", None)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == (
        "tramposim: module tramposim.study.doctor is missing; install tramposim with pip\n"
    )
