"""Workload files: what is read, and what each mistake says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tramposim.errors import InputError
from tramposim.schedule.arrivals import (
    ClosedLoop,
    OnOff,
    Pareto,
    Periodic,
    Poisson,
    Replay,
    Stepped,
)
from tramposim.spec import Arch
from tramposim.study.workload import (
    Changes,
    change_workload,
    find_workload,
    parse_workload,
    read_workload,
)
from tramposim.study.workload_schema import arrivals_of, split_scenario

TEXT = """\
[workload]
name = "x"
description = "d"
models = "m"
source = "s"

[function]
prototype = "int f(int a)"

[arrivals]
kind = "poisson"
rate = "50k/s"

[machine]
cpus = 2
"""

TASK = '[[tasks]]\nname = "first"\ncycles = 1\n[[tasks]]\nname = "second"\n'
BACKGROUND = '[background]\nlines_per_s = "1M"\nfootprint = "1MiB"\n'


def test_defaults_and_values() -> None:
    workload = parse_workload(TEXT, "x.toml")
    assert workload.prototype.name == "f"
    assert (workload.rate_hz, workload.tasks, workload.duration_s) == (100_000, 2, 1.0)
    assert workload.machine.arch == (Arch.X86_64, Arch.ARM64)
    assert arrivals_of(workload) == Poisson(50_000)


@pytest.mark.parametrize(
    ("lines", "arrivals"),
    [
        ('kind = "periodic"\nrate = "1k"', Periodic(1000)),
        ('kind = "periodic"\nrate = "1k"\nper = "machine"', Periodic(500)),
        ('kind = "pareto"\nrate = "1k"\nshape = 1.2', Pareto(1000, 1.2)),
        ('kind = "on-off"\nrate = "1k"\non = "1ms"\noff = "2ms"', OnOff(1000, 1e-3, 2e-3)),
        (
            'kind = "stepped"\nper = "machine"\nsteps = [{duration = "1s", rate = "4k"},\n'
            '    {duration = "3s", rate = "0"}]',
            Stepped(((1.0, 2000.0), (3.0, 0.0))),
        ),
        ('kind = "closed-loop"\nthink_cycles = 10', ClosedLoop(10)),
        ('kind = "replay"\ntimes = [0.0, 0.5]', Replay((0.0, 0.5))),
        ('kind = "replay"\ntimes = [[0.0], [9.0], [0.5]]', Replay((0.0, 0.5))),
    ],
)
def test_kinds_of_arrivals(lines: str, arrivals: object) -> None:
    text = TEXT.replace('kind = "poisson"\nrate = "50k/s"', lines)
    assert arrivals_of(parse_workload(text, "x.toml")) == arrivals


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[machine]", "[machine", "x.toml:14: malformed TOML: "),
        ('name = "x"', 'name = "x', "x.toml:2: malformed TOML: "),
        (
            'kind = "poisson"\nrate = "50k/s"',
            'kind = "replay"\ntimes = [0.0, [1.0]]',
            "x.toml:10: arrivals: times are all numbers, or",
        ),
        (
            'kind = "poisson"\nrate = "50k/s"',
            'kind = "replay"\ntimes = [1.0, 0.0]',
            "x.toml:10: arrivals: .*before its predecessor",
        ),
        (
            'kind = "poisson"\nrate = "50k/s"',
            'kind = "stepped"\nsteps = [{duration = "1s", rate = "0"}]',
            "x.toml:10: arrivals.*: at least one step must have calls",
        ),
        (
            'kind = "poisson"\nrate = "50k/s"',
            'kind = "stepped"\nsteps = []',
            "x.toml:10: arrivals.*: at least one step must have calls",
        ),
        ("cpus = 2", "cpus = 2 3", "x.toml:15: malformed TOML: "),
        ("cpus = 2", 'cpus = "two"', "x.toml:15: machine.cpus: expected `int`, got `str`"),
        ("cpus = 2", "cpu = 2", "x.toml:15: machine.cpu: no such key; did you mean 'cpus'?"),
        ("cpus = 2", "cpus = 0", "x.toml:15: machine.cpus: 0 is out of range; 1 to 8192"),
        ("cpus = 2", "clock_ghz = -1", "x.toml:15: machine.clock_ghz: -1 is out of range"),
        ("cpus = 2", 'arch = ["riscv"]', "x.toml:15: machine.arch: .* known are x86_64, arm64"),
        ("[machine]\ncpus = 2\n", "", "x.toml: machine: this key is required"),
        ("[machine]", "[machines]", "x.toml:14: machines: no such key; did you mean 'machine'"),
        ('source = "s"\n', "", "x.toml:1: workload.source: this key is required"),
        ('"poisson"', '"poison"', "x.toml:11: arrivals.kind: .* known are periodic, poisson"),
        ('"50k/s"', '"fast"', "x.toml:12: arrivals.rate: 'fast' is not a call rate; write"),
        ('"50k/s"', '"50k/s"\nper = "core"', "x.toml:13: arrivals.per: .* known are cpu, mach"),
        ('"50k/s"', '"500G"', "x.toml:10: arrivals: a rate of 5e.11 calls/s on one CPU; "),
        ('"int f(int a)"', '"int f(foo a)"', "x.toml:8: function.prototype: .*'foo' is not kn"),
        ("cpus = 2", '[run]\nduration = "1h"', "x.toml:16: run.duration: '1h' is not a dura"),
        ("cpus = 2", '[run]\nscenarios = ["fsesion"]', "x.toml:16: run.scenarios: .*'fsesion'"),
        ("cpus = 2", "[run]\nscenarios = []", "x.toml:16: run.scenarios: the list is empty"),
        ("cpus = 2", "[run]\nseed = -1", "x.toml:16: run.seed: -1 is out of range"),
        ("cpus = 2", '[run]\nbody = "nothing"', "x.toml:15: run.*: unknown body 'nothing'; known"),
        ("cpus = 2", 'kernel = "2.4"', "x.toml:15: machine.kernel: .*'2.4' is not known; known"),
        ("cpus = 2", 'entry = "call"', "x.toml:15: machine.entry: 'call' is no way to enter on a"),
        ("cpus = 2", 'returns = "x"', "x.toml:15: machine.returns: unknown kind of return 'x'"),
        ("cpus = 2", 'cores = {arm64 = "z80"}', "x.toml:15: machine.cores.*: unknown core 'z80'"),
        ("cpus = 2", 'cores = {arm64 = "golden-cove"}', "x.toml:15: .* is no arm64 core"),
        ("cpus = 2", '[[interrupts]]\nname = "nic"', "x.toml:15: interrupts.kind: this key"),
        ("cpus = 2", "llc_cpus = 0", "x.toml:15: machine.llc_cpus: 0 is out of range"),
        ("cpus = 2", TASK + "cycles = 0", "x.toml:19: tasks.second: 0 is out of range"),
        ("cpus = 2", TASK + "cycles = 1\ncount = 0", "x.toml:19: tasks.second: 0 is out"),
        ("cpus = 2", TASK + 'cycles = 1\nrate = "5/s"', "x.toml:19: .*a busy task has no rate"),
        ("cpus = 2", TASK + 'cycles = 1\nkind = "poisson"', "x.toml:19: .*needs a rate"),
        ("cpus = 2", TASK + "cycles = 1\nyield = true", "x.toml:.* did you mean 'yields'"),
        ("cpus = 2", TASK + 'cycles = 1\nlines_per_s = "1M"', r"x.toml:19: .*a \[background\]"),
        ("cpus = 2", "[functions]\nfanout = 0", "x.toml:15: functions: an arrival makes 1 to"),
        ("cpus = 2", "[functions]\nrecursion = 2.0", "x.toml:15: functions: the share of"),
        ("cpus = 2", BACKGROUND + "code_share = 2.0", "x.toml:15: background: code_share"),
    ],
)
def test_a_mistake_is_one_line_with_place_and_remedy(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(InputError, match=said) as caught:
        parse_workload(TEXT.replace(old, new), "x.toml")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.toml: cannot read the workload: No such file"):
        read_workload(tmp_path / "nothing.toml")
    with pytest.raises(InputError, match="Is a directory"):
        read_workload(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_workload(tmp_path / "binary.toml")


def test_workloads_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "workloads").mkdir()
    (tmp_path / "workloads" / "mine.toml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert find_workload("mine") == Path("workloads/mine.toml")
    assert find_workload("other/x.toml") == Path("other/x.toml")
    with pytest.raises(InputError, match=r"yours: no such workload; known are .*mine"):
        find_workload("yours")


def test_scenarios_may_name_their_body() -> None:
    assert split_scenario("fsession+cookie:latency-cookie", "count") == (
        "fsession+cookie",
        "latency-cookie",
    )
    assert split_scenario("fentry + fexit", "count") == ("fentry+fexit", "count")


def test_changes_replace_what_the_file_says() -> None:
    workload = parse_workload(TEXT, "x.toml")
    changed = change_workload(
        workload,
        Changes(rate="1k", cpus=3, duration="5ms", seed=7, cores={Arch.ARM64: "neoverse-n1"}),
    )
    assert (changed.rate_hz, changed.duration_s, changed.run.seed) == (3000, 0.005, 7)
    assert changed.machine.arch == (Arch.ARM64,)
    assert change_workload(workload, Changes()) == workload


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (Changes(rate="quick"), "--rate: 'quick' is not a call rate"),
        (Changes(duration="quick"), "--duration: 'quick' is not a duration"),
        (Changes(scenarios=("fsesion",)), "--scenario: .*'fsesion'"),
        (Changes(scenarios=("fentry:nothing",)), "--scenario: unknown body 'nothing'"),
        (Changes(returns="its"), "--returns: 'its': return thunks exist on x86_64 only"),
        (Changes(entry="bl"), "--entry: 'bl' is no way to enter on x86_64"),
        (Changes(kernel="2.4"), "--kernel: .*'2.4'"),
        (
            Changes(archs=(Arch.X86_64,), cores={Arch.ARM64: "neoverse-n1"}),
            "--core: neoverse-n1 is no core of x86_64",
        ),
    ],
)
def test_wrong_changes_name_the_option(changes: Changes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        change_workload(parse_workload(TEXT, "x.toml"), changes)


def test_a_closed_loop_has_no_rate_to_change() -> None:
    text = TEXT.replace('kind = "poisson"\nrate = "50k/s"', 'kind = "closed-loop"')
    with pytest.raises(InputError, match="--rate: the arrivals of x have no single rate"):
        change_workload(parse_workload(text, "x.toml"), Changes(rate="1k"))


@given(st.data())
def test_damaged_files_raise_input_errors_only(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(("vfs_read_irq", "vfs_read_busy", "fgraph_small")))
    text = (Path(__file__).parents[2] / "workloads" / f"{name}.toml").read_text()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 40)))
    piece = data.draw(st.text(alphabet="[]={}\"'\n.,0-9eainf x", max_size=10))
    try:
        parse_workload(text[:start] + piece + text[stop:], "x.toml")
    except InputError as error:
        message = str(error)
        assert message.startswith("x.toml")
        assert "\n" not in message
