"""`tramposim load --program`: a user's programs under a workload's calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tramposim.cli import main

WORKLOADS = Path(__file__).parents[2] / "workloads"
BODIES = Path(__file__).parents[2] / "tramposim" / "study" / "bodies"
SMALL = ["--arch", "x86_64", "--duration", "1ms"]

THREE = """
.section fentry/vfs_read
before:
    r0 = 0
    exit
.section fexit/vfs_read
after:
    r0 = 0
    exit
.section fsession/vfs_read
around:
    r0 = 0
    exit
.section fentry/icmp_rcv
other:
    r0 = 0
    exit
"""
PRINTING = """
.section fsession/vfs_read
printing:
    r1 = r10
    r1 += -8
    *(u64 *)(r10 - 8) = 0x21
    r2 = 2
    call bpf_trace_printk
    r0 = 0
    exit
"""
RING = """
.map events ringbuf entries=4096
.section fentry/vfs_read
emit:
    r1 = map[events] ll
    r2 = 1000
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto full
    r1 = r0
    r2 = 0
    call bpf_ringbuf_submit
full:
    r0 = 0
    exit
"""


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["load", *arguments, "--format", "json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["rows"]
    return rows


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "three.bpf"
    path.write_text(THREE)
    return str(path)


def test_own_programs_have_the_scenarios_of_compare(
    source: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    found = rows(capsys, "vfs_read", "--program", source, *SMALL)
    assert [(row["role"], row["scenario"], row["body"]) for row in found] == [
        ("untraced", "untraced", "-"),
        ("alone", "fentry", "before"),
        ("alone", "fexit", "after"),
        ("alone", "fsession", "around"),
        ("pair", "fentry+fexit", "before + after"),
        ("all", "fentry+fexit+fsession", "before + after + around"),
    ]
    assert "left out, not of vfs_read: other" in caplog.text
    words = ["compare", source, "--function", "vfs_read", "--arch", "x86_64", "--format", "json"]
    assert main(words) == 0
    compared = [row["cycles_per_call"] for row in json.loads(capsys.readouterr().out)["rows"]]
    hot = [row["hot_cycles_per_call"] for row in found]
    assert hot == pytest.approx(compared, rel=0.01)
    for row in found:
        assert abs(row["memo_error_percent"]) < 1 + row["memo_error_percent_ci95"]


def test_programs_cost_what_the_same_bodies_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # interrupt handlers that call, and more than one function
    path = tmp_path / "own.bpf"
    text = (BODIES / "fsession.latency-hash.bpf").read_text()
    path.write_text(text.replace("/bpf_fentry_test1", "/vfs_read"))
    words = [str(WORKLOADS / "vfs_read_irq.toml"), "--functions", "3", *SMALL]
    scenarios = ["--scenario", "untraced", "--scenario", "fsession:latency-hash"]
    known = rows(capsys, *words, *scenarios)
    own = rows(capsys, *words, "--program", str(path))
    for mine, theirs in zip(own, known, strict=True):
        for field in ("cycles_per_call", "hot_cycles_per_call", "transfers_per_call"):
            assert mine[field] == pytest.approx(theirs[field], rel=0.02), field
        assert mine["recursion_misses"] == pytest.approx(theirs["recursion_misses"], abs=4)


def test_the_table_says_who_wins(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--scenario", "around", "--scenario", "before+after", "--scenario", "untraced"]
    assert main(["load", "vfs_read", "--program", source, *names, *SMALL]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "vfs_read, three.bpf attached to vfs_read on x86_64" in out
    assert "One fsession (around) instead of fentry+fexit (before + after) costs" in out
    assert main(["load", "vfs_read", "--program", source, *names, *SMALL, "--format", "md"]) == 0
    assert "| fentry+fexit | before + after |" in capsys.readouterr().out


def test_a_curve_names_the_winner(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["--scenario", "around", "--scenario", "before+after"]
    words = ["load", "vfs_read", "--program", source, "--curve", "--cpus", "1", *names]
    assert main([*words, "--arch", "x86_64"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "fsession around against fentry+fexit before + after: it wins" in out


def test_another_function_at_the_workloads_rate(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(capsys, "vfs_read", "--program", source, "--function", "icmp_rcv", *SMALL)
    assert [row["body"] for row in found] == ["-", "other"]
    assert {row["function"] for row in found} == {"icmp_rcv"}


def test_stated_costs_are_in_every_call_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "printing.bpf"
    path.write_text(PRINTING)
    words = ["vfs_read", "--program", str(path), *SMALL]
    (_, free), (_, stated) = (
        rows(capsys, *words, "--cost", f"bpf_printk={cycles}") for cycles in (0, 700)
    )
    assert stated["cycles_per_call"] == pytest.approx(free["cycles_per_call"] + 1400, rel=0.01)
    assert stated["stated_costs"] == "2 bpf_trace_printk at 700 cycles"
    assert main(["load", *words, "--cost", "bpf_printk=700"]) == 0
    assert "bpf_trace_printk at 700 cycles per call" in " ".join(capsys.readouterr().out.split())


def test_cpus_take_a_ring_from_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # a ring that holds four records: calls are measured with room for theirs
    path = tmp_path / "ring.bpf"
    path.write_text(RING)
    words = ["vfs_read", "--program", str(path), *SMALL]
    (_, alone), (_, shared) = (rows(capsys, *words, "--cpus", cpus) for cpus in ("1", "16"))
    assert alone["transfers_per_call"] == 0
    # at least the lock and the writer's position go from CPU to CPU
    assert shared["transfers_per_call"] > 1.5
    assert shared["cycles_per_call"] > alone["cycles_per_call"] + 100


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--program", "nothing.c"], 2, "nothing.c: cannot be read"),
        (["--program", "@", "--body", "count"], 2, "no --body"),
        (["--program", "@", "--scenario", "nobody"], 2, "no program is called nobody; there are"),
        (["--program", "@", "--function", "tcp_sendmsg"], 2, "no program traces tcp_sendmsg"),
        (["--program", "@", "--proto", "int vfs_read("], 2, "--proto"),
        (["--program", "@", "--cost", "bpf_printk"], 2, "--cost"),
        (["--program", "@", "--kernel", "6.12", "--scenario", "around"], 1, "fsession"),
        (["--arg", "5"], 2, "--arg needs --program"),
        (["--function", "vfs_read"], 2, "--function needs --program"),
    ],
)
def test_what_cannot_be_is_one_line(
    source: str, options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [source if option == "@" else option for option in options]
    assert main(["load", "vfs_read", *words, *SMALL]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
