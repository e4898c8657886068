"""Sweeps: every combination once, wherever it is computed."""

from __future__ import annotations

import pytest

from tramposim.errors import InputError
from tramposim.spec import Arch
from tramposim.study import parallel
from tramposim.study.compare import compare
from tramposim.study.kernels import kernel_of
from tramposim.study.load import load
from tramposim.study.meter import meters_of
from tramposim.study.parallel import each
from tramposim.study.records import Records, encode_records
from tramposim.study.subject import cores_of, function_of
from tramposim.study.sweep import Grid, sweep
from tramposim.study.sweepload import sweep_workload
from tramposim.study.workload import Changes, change_workload, find_workload, read_workload

SMALL = Grid(
    archs=(Arch.X86_64,),
    cores=("golden-cove", "zen3"),
    returns=("plain", "its"),
    entries=("call", "jmp"),
    scenarios=("fentry+fexit", "fsession"),
)


@pytest.fixture(scope="module")
def small() -> Records:
    return sweep(SMALL, jobs=1)


def test_every_combination_is_a_row(small: Records) -> None:
    cells = {(row["core"], row["returns"], row.get("entry"), row["scenario"]) for row in small.rows}
    # untraced calls enter no image: one for each core and kind of return
    assert len(cells) == len(small.rows) == 2 * 2 * (1 + 2 * 2)
    assert small.meta["axes"] == {
        "core": ["golden-cove", "zen3"],
        "returns": ["plain", "its"],
        "entry": ["call", "jmp"],
    }


def test_a_row_is_what_compare_measures(small: Records) -> None:
    kernel = kernel_of("x86_64", "7.2", "call", "its")
    grid = [(word, "empty") for word in ("untraced", "fentry+fexit", "fsession")]
    found = compare([kernel], cores_of(["x86_64"], ["zen3"]), function_of(), grid, state="hot")
    same = [
        row
        for row in small.rows
        if (row["core"], row["returns"]) == ("zen3", "its") and row.get("entry") in (None, "call")
    ]
    assert same == [dict(row) for row in found.rows]


def test_sessions_are_set_against_as_many_pairs() -> None:
    grid = Grid(
        archs=(Arch.X86_64,),
        cores=("zen3",),
        scenarios=("fentry+fexit", "fentry*4+fexit*4", "fsession*4", "fentry", "fsession*3"),
    )
    rows = {str(row["scenario"]): row for row in sweep(grid, jobs=1).rows}
    four = [
        float(str(rows[f"{w}"]["cycles_over_untraced"])) for w in ("fsession*4", "fentry*4+fexit*4")
    ]
    assert rows["fsession*4"]["over_pair_ratio"] == pytest.approx(four[0] / four[1], abs=1e-3)
    assert rows["fentry*4+fexit*4"]["over_pair_ratio"] == 1.0
    assert float(str(rows["fentry"]["over_pair_ratio"])) < 1
    assert "over_pair_ratio" not in rows["fsession*3"]


def test_processes_compute_the_same_bytes(small: Records) -> None:
    assert encode_records(sweep(SMALL, jobs=2)) == encode_records(small)


@pytest.mark.slow
def test_a_cluster_computes_the_same_bytes(small: Records) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        found = sweep(SMALL, cluster=cluster.scheduler_address)
    assert encode_records(found) == encode_records(small)


def test_workers_of_another_version_are_refused() -> None:
    with pytest.raises(InputError, match=r"tcp://a:1 has tramposim 0\.0"):
        parallel._check_workers({"tcp://a:1": "0.0"})
    with pytest.raises(InputError, match="no workers"):
        parallel._check_workers({})


def test_a_missing_cluster_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'tramposim\[cluster\]'"):
        list(each(str, [1], cluster="tcp://127.0.0.1:1"))


def test_a_kernel_without_sessions_refuses_them() -> None:
    grid = Grid(
        archs=(Arch.X86_64,),
        cores=("golden-cove",),
        kernels=("6.12", "7.2"),
        scenarios=("fsession",),
    )
    refused = [row for row in sweep(grid, jobs=1).rows if "refused" in row]
    assert [(row["kernel"], row["scenario"]) for row in refused] == [("6.12", "fsession")]
    # bpf(2) of such a kernel does not know the attach type
    assert "EINVAL" in str(refused[0]["refused"])
    assert "cycles_per_call" not in refused[0]


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (Grid(entries=("frob",)), "--entry: 'frob'"),
        (Grid(archs=(Arch.ARM64,), returns=("its",)), "--returns: 'its'"),
        (Grid(archs=(Arch.ARM64,), cores=("zen3",)), "--core: zen3"),
        (Grid(scenarios=("fsession:frob",)), "unknown body 'frob'"),
        (Grid(states=("tepid",)), "'tepid'"),
    ],
)
def test_words_that_name_nothing_are_refused(grid: Grid, says: str) -> None:
    with pytest.raises(InputError, match=says):
        sweep(grid, jobs=1)


def test_a_word_of_one_architecture_leaves_the_other_its_default() -> None:
    grid = Grid(returns=("its",), entries=("call",))
    assert [kernel.returns.value for kernel in grid.kernels_of(Arch.X86_64)] == ["its"]
    (arm,) = grid.kernels_of(Arch.ARM64)
    assert (arm.returns.value, arm.entry) == ("plain", None)


def test_a_workload_is_swept_at_its_rate() -> None:
    changes = Changes(duration="10ms", scenarios=("untraced", "fentry+fexit", "fsession"))
    workload = change_workload(read_workload(find_workload("icmp_rcv")), changes)
    grid = Grid(archs=(Arch.X86_64,), cores=("zen3",), kernels=("6.12", "7.2"))
    found = sweep_workload(workload, grid, jobs=1)
    assert found.meta["axes"] == {"kernel": ["6.12", "7.2"]}
    rows = {(row["kernel"], row["scenario"]): row for row in found.rows}
    assert "EINVAL" in str(rows["6.12", "fsession"]["refused"])
    alone = change_workload(
        workload, Changes(archs=(Arch.X86_64,), cores={Arch.X86_64: "zen3"}, kernel="7.2")
    )
    for row in load([alone], meters_of(alone)).rows:
        assert rows["7.2", str(row["scenario"])].items() >= row.items()
    pair, session = (rows["7.2", word] for word in ("fentry+fexit", "fsession"))
    over = [float(str(row["cycles_over_untraced"])) for row in (session, pair)]
    assert session["over_pair_ratio"] == pytest.approx(over[0] / over[1], abs=1e-3)
