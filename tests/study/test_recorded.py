"""Recordings as the tools print them."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tramposim.errors import InputError
from tramposim.schedule.arrivals import Replay, arrival_source
from tramposim.schedule.clock import Clock
from tramposim.study.recorded import read_recording
from tramposim.study.workload import read_workload
from tramposim.study.workload_schema import arrivals_of

PERF = """\
# captured on    : Sat Nov 21 2026
swapper     0 [001]  5128.170318: probe:icmp_rcv: (ffffffff81c0d2f0)
\tffffffff81c0d2f1 icmp_rcv+0x1 ([kernel.kallsyms])

ping  812 [003]  5128.170319: probe:icmp_rcv_done: (ffffffff81c0d2f0)
ping  812 [001]  5128.170818: probe:icmp_rcv: (ffffffff81c0d2f0)
ping  812 [000]  5128.171318: probe:icmp_rcv: (ffffffff81c0d2f0)
"""

TRACE_CMD = """\
cpus=4
          <idle>-0     [001] ..s2.  5128.170318: function:             icmp_rcv
          <idle>-0     [001]  5128.170818: function:             icmp_rcv <-- ip_protocol_deliver
            ping-812   [002]  5128.170900: function:             icmp_send
            ping-812   [000] d.s1.  5128.171318: function:             icmp_rcv
"""


@pytest.mark.parametrize("text", [PERF, TRACE_CMD])
def test_lines_of_the_tools_are_read_by_cpu(text: str, tmp_path: Path) -> None:
    (tmp_path / "calls.txt").write_text(text)
    times = read_recording(tmp_path / "calls.txt", "icmp_rcv")
    assert times[0] == pytest.approx([1e-3], abs=1e-9)
    assert times[1] == pytest.approx([0.0, 5e-4], abs=1e-9)
    assert len(times) == 2


def test_without_an_event_all_lines_count(tmp_path: Path) -> None:
    (tmp_path / "calls.txt").write_text(TRACE_CMD)
    assert [len(times) for times in read_recording(tmp_path / "calls.txt")] == [1, 2, 1]


def test_csv_with_and_without_cpus(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("cpu,time_s\n1,10.5\n0,10\n1,10.25\n")
    assert read_recording(tmp_path / "a.csv") == ((0.0,), (0.25, 0.5))
    (tmp_path / "b.csv").write_text("time_s\n3\n1\n")
    assert read_recording(tmp_path / "b.csv") == ((0.0, 2.0),)


def test_events_of_single_tasks_have_no_cpu(tmp_path: Path) -> None:
    text = (
        "ping  812  5128.170318: probe:icmp_rcv: (ffffffff81c0d2f0)\n"
        "my task 7 812/813  5128.170319123: probe:icmp_rcv: (ffffffff81c0d2f0)\n"
    )
    (tmp_path / "calls.txt").write_text(text)
    (times,) = read_recording(tmp_path / "calls.txt", "icmp_rcv")
    assert times == pytest.approx([0.0, 1.123e-6], abs=1e-9)


SEEDS = [PERF, TRACE_CMD, "cpu,time_s\n1,10.5\n0,10\n1,10.25\n", "time_s\n3\n1\n"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(
            st.integers(0, 500),
            st.integers(0, 20),
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from(
                    [
                        *(b"\0", b'"', b"\n", b",", b"\r", b"[99999]", b"1e308", b"nan", b"-inf"),
                        *(b"9" * 400, b"a" * 140_000, "\u0663".encode(), b"1_0", b"99999999999.9:"),
                    ]
                ),
            ),
        ),
        max_size=6,
    ),
    st.sampled_from(["calls.csv", "calls.txt"]),
)
def test_damaged_recordings_are_read_or_located(
    tmp_path: Path, seed: str, damage: list[tuple[int, int, bytes]], name: str
) -> None:
    text = seed.encode()
    for at, length, new in damage:
        text = text[:at] + new + text[at + length :]
    path = tmp_path / name
    path.write_bytes(text)
    said = ""
    times: tuple[tuple[float, ...], ...] = ()
    try:
        times = read_recording(path)
    except InputError as error:
        said = str(error)
    assert times or (said.startswith(f"{path}:") and "\n" not in said)
    for of_cpu in times:
        assert list(of_cpu) == sorted(of_cpu)
        if max(of_cpu, default=0) < 20_000:  # what can be simulated
            arrival_source(Replay(of_cpu), Clock(3e9), 1, 0)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "seconds\n1\n", r"a\.csv:1: a column time_s"),
        ("a.csv", "time_s\n1\nsoon\n", r"a\.csv:3: time_s must be a number"),
        ("a.csv", "time_s,cpu\n1,-1\n", r"a\.csv:2: .*cpu between"),
        ("a.csv", "time_s\ninf\n", r"a\.csv:2: time_s must be finite"),
        ("a.txt", "nothing of the kind\n", r"a\.txt: no call found"),
    ],
)
def test_what_is_no_recording_is_said(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_recording(tmp_path / name)


def test_a_workload_replays_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "calls.txt").write_text(PERF)
    workload = """\
[workload]
name = "w"
description = "d"
models = "m"
source = "s"
[function]
prototype = "int icmp_rcv(struct sk_buff *skb)"
[arrivals]
kind = "replay"
file = "calls.txt"
event = "icmp_rcv"
[machine]
cpus = 2
"""
    (tmp_path / "w.toml").write_text(workload)
    replays = [arrivals_of(read_workload(tmp_path / "w.toml"), task) for task in range(2)]
    assert [len(replay.times_s) for replay in replays if isinstance(replay, Replay)] == [1, 2]
    (tmp_path / "w.toml").write_text(workload.replace("calls.txt", "gone.txt"))
    with pytest.raises(InputError, match=r"gone\.txt: cannot read the recording"):
        read_workload(tmp_path / "w.toml")
    both = workload.replace('event = "icmp_rcv"', "times = [0.0]")
    (tmp_path / "w.toml").write_text(both)
    with pytest.raises(InputError, match=r"w\.toml:11: arrivals.times: give either"):
        read_workload(tmp_path / "w.toml")
