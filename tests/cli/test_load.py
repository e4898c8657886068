"""`tramposim load` as users run it."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tramposim.cli import main
from tramposim.cli.stop import stop_on_interrupt

WORKLOAD = str(Path(__file__).parents[2] / "workloads" / "icmp_rcv.toml")
SMALL = ["--duration", "10ms", "--arch", "x86_64", "--scenario", "fentry+fexit"]
SMALL += ["--scenario", "fsession"]


def test_the_table_gives_the_added_cpu_share(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", WORKLOAD, *SMALL]) == 0
    captured = capsys.readouterr()
    assert "+% CPU" in captured.out
    assert "every call costs what the core model takes" in " ".join(captured.out.split())
    assert captured.err == ""


def test_json_rows_are_consistent_with_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", WORKLOAD, *SMALL, "--rate", "100k", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "tramposim.result/1"
    arguments = ["--arch", "x86_64", "--body", "count", "--format", "json"]
    words = ["--scenario", "fentry+fexit", "--scenario", "fsession"]
    assert main(["compare", WORKLOAD, *words, *arguments]) == 0
    compared = {
        row["scenario"]: row["cycles_per_call"]
        for row in json.loads(capsys.readouterr().out)["rows"]
    }
    for row in found["rows"]:
        assert row["hot_cycles_per_call"] == pytest.approx(compared[row["scenario"]], rel=0.01)
        assert row["cycles_per_call"] > row["hot_cycles_per_call"]
        assert abs(row["memo_error_percent"]) < 10
        share = 100 * row["calls"] / 0.01 * row["cycles_over_untraced"] / row["clock_ghz"] / 1e9
        assert row["added_percent_of_one_cpu"] == pytest.approx(share, rel=1e-3)


def test_a_closed_loop_agrees_with_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "bench", *SMALL, "--duration", "1ms", "--format", "json"]) == 0
    for row in json.loads(capsys.readouterr().out)["rows"]:
        expected = row["clock_ghz"] * 1e9 / row["cycles_per_call"]
        assert row["calls_per_s"] == pytest.approx(expected, rel=0.01)


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = str(tmp_path / name)
        assert main(["load", WORKLOAD, *SMALL, "--format", "csv", "-o", path]) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_known_workloads_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("icmp_rcv ") and "packet" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["load"], "name a WORKLOAD"),
        (["load", WORKLOAD, "--rate", "5G"], "arrivals: a rate of 5e+09 calls/s on one CPU"),
        (["load", WORKLOAD, "--trace", "-"], "only one of --plot, --trace"),
        (["load", "nothing"], "nothing: no such workload; known are"),
        (["load", "no/such.toml"], "no/such.toml: cannot read the workload"),
        (["load", WORKLOAD, "--rate", "fast"], "--rate: 'fast' is not a call rate"),
        (["load", WORKLOAD, "--scenario", "fsesion"], "unknown word 'fsesion'"),
        (["load", WORKLOAD, "--core", "z80"], "unknown core 'z80'"),
        (["load", WORKLOAD, "--kernel", "2.4"], "'2.4' is not known"),
        (["load", WORKLOAD, "--cpus", "0"], "--cpus"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_the_first_interrupt_asks_and_the_second_breaks() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_with_what_there_is(tmp_path: Path) -> None:
    """On a terminal, with a progress bar; simulated time and the time left are shown."""
    trace = tmp_path / "trace.json"
    words = [sys.executable, "-m", "tramposim", "load", WORKLOAD, *SMALL, "--duration", "60s"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*words, "--trace", str(trace)], stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    shown = ""
    deadline = time.monotonic() + 100
    while not re.search(r"━.* %, \d+ s left; \S+ s of 60s, x86_64", shown):
        assert time.monotonic() < deadline, shown
        if select.select([ours], [], [], 1)[0]:
            shown += os.read(ours, 65536).decode()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 130
    assert "Traceback" not in shown
    assert "INTERRUPTED: of the last row (fentry+fexit count)" in " ".join(output.split())
    assert "+% CPU" in output
    assert json.loads(trace.read_text())["traceEvents"]


def test_the_curve_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "curve.svg"
    rates = ["--rate", "100", "--rate", "100k"]
    assert main(["load", WORKLOAD, *SMALL, *rates, "--plot", str(picture)]) == 0
    root = ElementTree.fromstring(picture.read_text())
    words = " ".join(root.itertext())
    assert "fsession count" in words
    assert "calls per second" in words
    assert "prefers-color-scheme:dark" in words
    assert main(["load", WORKLOAD, *SMALL, "--plot", str(picture)]) == 2
    assert "--curve or several --rate" in capsys.readouterr().err


def test_a_curve_has_rates_from_rare_to_saturated(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["load", "icmp_rcv", "--curve", "--arch", "x86_64", "--cpus", "1"]
    words += ["--scenario", "fentry+fexit", "--scenario", "fsession"]
    assert main([*words, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    rates = sorted({row["offered_calls_per_s"] for row in rows})
    assert rates[0] == 1
    assert rates[-1] == 1e7
    costs = [row["cycles_over_untraced"] for row in rows if row["scenario"] == "fsession"]
    assert costs[0] > 5 * costs[-1]
    assert rows[-1]["saturated"]
    assert main([*words, "--rate", "5"]) == 2
    assert main([*words, "--functions", "5", "--functions", "6"]) == 2


def test_more_functions_cost_more_per_call(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["load", WORKLOAD, "--duration", "50ms", "--scenario", "fsession"]
    words += ["--arch", "x86_64", "--functions", "1", "--functions", "1000"]
    assert main(words) == 0
    assert "of 1,000 functions to" in capsys.readouterr().out
    assert main([*words, "--format", "json"]) == 0
    one, many = json.loads(capsys.readouterr().out)["rows"]
    assert (one["functions"], many["functions"]) == (1, 1000)
    assert many["cycles_per_call"] > 1.2 * one["cycles_per_call"]
