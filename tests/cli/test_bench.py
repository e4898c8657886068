"""`tramposim bench`: what scripts that parse the kernel's bench find in our output."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tramposim.cli import main
from tramposim.study.bench import BENCHES

# The expressions of tools/testing/selftests/bpf/benchs/run_common.sh.
HITS = r"s/.*hits\s+([0-9]+\.[0-9]+ ± [0-9]+\.[0-9]+M\/s).*/\1/"
DROPS = r"s/.*drops\s+([0-9]+\.[0-9]+ ± [0-9]+\.[0-9]+M\/s).*/\1/"
TOTAL = r"s/.*total operations\s+([0-9]+\.[0-9]+ ± [0-9]+\.[0-9]+M\/s).*/\1/"


def _sed(expression: str, text: str) -> str:
    done = subprocess.run(
        ["sed", "-E", expression], input=text, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("sed") is None, reason="no sed here")
def test_the_kernels_sed_expressions_find_their_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "trig-fentry", "--format", "bench", "-d2", "-w1", "-a"]) == 0
    summary = capsys.readouterr().out
    assert re.fullmatch(r"\d+\.\d{3} ± 0\.000M/s", _sed(HITS, summary))
    assert _sed(DROPS, summary) == "0.000 ± 0.000M/s"
    assert _sed(TOTAL, summary) == _sed(HITS, summary)


@pytest.mark.skipif(shutil.which("cut") is None, reason="no cut here")
def test_the_kernels_trigger_script_finds_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "trig-fsession", "--format", "bench", "-v", "-d2", "-w1"]) == 0
    # run_bench_trigger.sh: the last line up to the parenthesis, without its first words
    pipeline = "tail -n1 | cut -d'(' -f1 | cut -d' ' -f3-"
    done = subprocess.run(
        ["sh", "-c", pipeline],
        input=capsys.readouterr().out,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.fullmatch(r" *\d+\.\d{3} ± 0\.000M/s \n", done.stdout)


def test_verbose_prints_every_second_and_producers_add_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "trig-fexit", "--format", "bench", "-v", "-d3", "-w2", "-p4"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["Setting up benchmark 'trig-fexit'...", "Benchmark 'trig-fexit' started."]
    progress = [re.fullmatch(r"Iter +(\d+) \( *0\.000us\): hits +([\d.]+)M/s \( *([\d.]+)M/prod\)"
                             r", drops +0\.000M/s, total operations +[\d.]+M/s", line)
                for line in lines[2:7]]  # fmt: skip
    assert [int(found[1]) for found in progress if found] == [0, 1, 2, 3, 4]
    for found in progress:
        assert found
        assert float(found[2]) == pytest.approx(4 * float(found[3]), abs=0.01)
    assert lines[7].startswith("Summary: hits ")


def test_result_lines_have_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "trig-fsession", "--format", "result"]) == 0
    number = r"\d+\.\d{2}"
    assert re.fullmatch(
        rf"RESULT scenario=trig-fsession samples=\d+ median={number} stddev={number} "
        rf"cv={number}% min={number} p99={number} max={number}\n",
        capsys.readouterr().out,
    )


def test_the_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-l"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"- {name}" for name in BENCHES]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trig-frob"], "unknown benchmark 'trig-frob'"),
        (["-d", "0"], "seconds"),
        (["-p", "0"], "0"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err
