"""Replay of captured images: counts and cycles against silicon, every kind of record."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tramposim.errors import InputError, TramposimError
from tramposim.study.measured import Measured, read_ids, read_measured
from tramposim.study.replay import ReplayRequest, Replays, replay, summary_of
from tramposim.study.subject import DEFAULT_CORES
from tramposim.timing import Core, load_core

DEFAULT = "x86_64-7.2.13-default"


def core_of(arch: str) -> Core:
    return load_core(DEFAULT_CORES[arch])  # type: ignore[index]


def run(
    *captures: Path,
    ids: tuple[str, ...] | None = None,
    measured: Mapping[str, Measured] | None = None,
    runtime: Path | None = None,
) -> Replays:
    return replay(ReplayRequest(captures, core_of, ids, measured or {}, runtime))


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_every_smoke_record_runs_with_its_captured_runtime(arch: str, shared: Path) -> None:
    replays = run(shared / "golden" / f"smoke-{arch}.jsonl.xz")
    assert len(replays.records.rows) == 16
    assert replays.exit_code == 0
    for row in replays.records.rows:
        assert row["function"] == "captured", row["id"]
        assert row["data_pages"] == 0, row["id"]


def test_images_execute_what_they_executed_on_silicon(shared: Path) -> None:
    """Instructions exactly as counted there, cycles within what the core model reaches."""
    measured = read_measured(shared / "hardware" / "golden-cove-images.csv")
    capture = shared / "golden" / f"{DEFAULT}-trampolines.jsonl.xz"
    rows = run(capture, ids=tuple(measured), measured=measured).records.rows
    assert {row["id"] for row in rows} == set(measured)
    for row in rows:
        # The measured images of LSM hooks ran two instructions more per program.
        if not str(row["id"]).startswith("lsm."):
            assert row["instructions_per_call"] == row["measured_instructions_per_call"], row["id"]
    summary = summary_of([r for r in rows if ".bpf_modify_return_test." not in str(r["id"])])
    assert summary is not None
    assert float(str(summary["mean_error_percent"])) < 8


@pytest.mark.parametrize(
    ("file", "record", "instructions"),
    [
        # fsession and pair on every version, struct_ops, tracing_multi, BPF targets.
        ("x86_64-6.12.107-default-trampolines", "n1.bpf_fentry_test1.fe_fx", None),
        ("x86_64-7.0.13-default-trampolines", "n1.bpf_fentry_test1.fs", None),
        ("x86_64-7.1.13-default-trampolines", "n1.bpf_fentry_test1.fs", None),
        ("x86_64-7.3-rc7-default-trampolines", "n1.bpf_fentry_test1.fs", 275),
        ("x86_64-7.2.13-mitoff-trampolines", "n1.bpf_fentry_test1.fs", 275),
        ("x86_64-7.2.13-stuff-trampolines", "n1.bpf_fentry_test1.fs", None),
        ("x86_64-7.2.13-default-trampolines", "bpftgt.xdptail.fe", None),
        ("arm64-6.12.107-max-trampolines", "n1.bpf_fentry_test1.fe_fx", None),
        ("arm64-7.0.13-max-trampolines", "n1.bpf_fentry_test1.fs", None),
        ("arm64-7.1.13-max-trampolines", "n1.bpf_fentry_test1.fs", None),
        ("arm64-7.2.13-a72-trampolines", "n1.bpf_fentry_test1.fs", None),
        ("arm64-7.3-rc7-max-trampolines", "n1.bpf_fentry_test1.fs", None),
        ("x86_64-7.2.13-default-structops-dummy", None, None),
        ("arm64-7.2.13-max-multi", "multi.mix2.bpf_fentry_test2", None),
    ],
)
def test_every_kernel_and_kind_of_record_runs(
    file: str, record: str | None, instructions: int | None, shared: Path
) -> None:
    ids = (record,) if record is not None else None
    replays = run(shared / "golden" / f"{file}.jsonl.xz", ids=ids)
    assert replays.exit_code == 0
    for row in replays.records.rows:
        assert float(str(row["cycles_per_call"])) > 20
        assert row.get("function") in ("captured", None)
        assert instructions in (None, row["instructions_per_call"])


@pytest.mark.parametrize("file", [f"{DEFAULT}-jit", "arm64-7.2.13-max-jit"])
def test_programs_return_what_they_returned_in_the_kernel(file: str, shared: Path) -> None:
    path = shared / "golden" / f"{file}.jsonl.xz"
    with lzma.open(path, "rt") as lines:
        records = [r for r in map(json.loads, lines) if r["rec"] == "prog" and r.get("jited")]
    sweeps = [r["id"] for r in records if r["id"].startswith(("sweep.alu", "sweep.jmp"))]
    replays = run(path, ids=tuple(sweeps[:: len(sweeps) // 6]))
    assert replays.exit_code == 0
    assert len(replays.records.rows) >= 6
    for row in replays.records.rows:
        assert row["first_return"] == row["recorded_return"], row["id"]


def test_a_function_captured_in_part_has_a_stand_in_and_the_row_says_so(shared: Path) -> None:
    capture = shared / "golden" / f"{DEFAULT}-trampolines.jsonl.xz"
    (row,) = run(capture, ids=("vm.args0.resctrl_l3_mon_resource_init.fs",)).records.rows
    assert row["function"] == "stand-in"


def test_functions_that_are_not_captured_are_named(shared: Path) -> None:
    smoke = shared / "golden" / "smoke-x86_64.jsonl.xz"
    (row,) = run(smoke, ids=("body.bpf_fentry_test1.fe_fx.lat",)).records.rows
    assert "alloc_htab_elem" in str(row["not_captured"])


def test_what_is_not_known_of_a_kernel_is_an_error(shared: Path) -> None:
    capture = shared / "golden" / "x86_64-7.0.13-default-trampolines.jsonl.xz"
    replays = run(capture, ids=("body.bpf_fentry_test1.fe_fx.lat",))
    assert replays.exit_code == 3
    (row,) = replays.records.rows
    assert row["error"] == ("map h: how kernel 7.0.13 lays out maps of type hash is not recorded")
    assert "cycles_per_call" not in row


@pytest.mark.parametrize(
    "file",
    [
        f"{DEFAULT}-runtime",
        "x86_64-7.2.13-its-runtime",
        "x86_64-7.2.13-srso-runtime",
        "x86_64-7.2.13-stuff-runtime",
        "arm64-7.2.13-max-runtime",
        "arm64-7.2.13-a72-runtime",
    ],
)
def test_the_guest_runtime_costs_what_the_captured_functions_cost(file: str, shared: Path) -> None:
    replays = run(shared / "golden" / f"{file}.jsonl.xz")
    assert replays.exit_code == 0
    rows = {str(row["id"]): row for row in replays.records.rows}
    around = [row for name, row in rows.items() if "enter" in name]
    assert len(around) == 6
    for row in around:
        assert abs(float(str(row["difference_percent"]))) <= 10, row["id"]
    for row in rows.values():
        cycles, guest = (float(str(row[f"{who}cycles_per_call"])) for who in ("", "guest_"))
        # Short operations differ by the cycle or two of a saved register.
        assert abs(guest - cycles) <= max(3, 0.15 * cycles), row["id"]


def _copy(shared: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The smoke capture of x86_64 with its first case changed."""
    with lzma.open(shared / "golden" / "smoke-x86_64.jsonl.xz", "rt") as file:
        boot, case, *_ = (json.loads(line) for line in file)
    change(case)
    path = tmp_path / "changed.jsonl"
    path.write_text(f"{json.dumps(boot)}\n{json.dumps(case)}\n")
    return path


def test_the_runtime_is_found_or_named(shared: Path, tmp_path: Path) -> None:
    path = _copy(shared, tmp_path, lambda case: None)
    with pytest.raises(InputError, match=rf"{DEFAULT}-runtime.jsonl.xz beside it; name the file"):
        run(path)
    golden = shared / "golden"
    assert run(path, runtime=golden / f"{DEFAULT}-runtime.jsonl.xz").exit_code == 0
    with pytest.raises(InputError, match=r"functions of x86_64 7.0.13, the capture is of x86_64"):
        run(path, runtime=golden / "x86_64-7.0.13-default-runtime.jsonl.xz")
    with pytest.raises(InputError, match="holds no functions of a kernel"):
        run(path, runtime=golden / "smoke-x86_64.jsonl.xz")


def test_malformed_records_are_named_errors(shared: Path, tmp_path: Path) -> None:
    """Mutated fields end in an error of ours or in a row, never in another exception."""
    runtime = shared / "golden" / f"{DEFAULT}-runtime.jsonl.xz"
    generator = random.Random(7)
    values = [None, 0, -1, 1 << 63, 1 << 70, "", "zz", "90" * 8, [], {}, "cc" * 5000]

    def mutate(case: dict[str, Any]) -> None:
        place = generator.choice(
            [case, case["progs"][0], case["progs"][0]["main"], case["nodes"]["fentry"][0]]
        )
        place[generator.choice(sorted(place))] = generator.choice(values)

    for _ in range(30):
        path = _copy(shared, tmp_path, mutate)
        with suppress(TramposimError):
            run(path, runtime=runtime)


def test_a_self_loop_in_an_image_ends_in_a_row_that_says_so(shared: Path, tmp_path: Path) -> None:
    def loop(case: dict[str, Any]) -> None:
        case["img"] = "ebfe" + case["img"][4:]

    path = _copy(shared, tmp_path, loop)
    replays = run(path, runtime=shared / "golden" / f"{DEFAULT}-runtime.jsonl.xz")
    assert replays.exit_code == 1
    assert "an endless loop?" in str(replays.records.rows[0]["error"])


def test_ids_come_from_words_lines_and_tables(tmp_path: Path) -> None:
    assert read_ids("a,b, c") == ("a", "b", "c")
    lines = tmp_path / "ids"
    lines.write_text("a\n\nb\n")
    assert read_ids(str(lines)) == ("a", "b")
    table = tmp_path / "ids.csv"
    table.write_text("n,id\n1,a\n2,b\n")
    assert read_ids(str(table)) == ("a", "b")
    with pytest.raises(InputError, match="names no id"):
        read_ids(",")
    with pytest.raises(InputError, match="no column 'hw_cycles_median'"):
        read_measured(table)
    table.write_text("id,hw_cycles_median\na,nan\n")
    with pytest.raises(InputError, match=r"ids.csv:2: a row without id or with cycles"):
        read_measured(table)


def test_an_id_without_image_is_an_error(shared: Path) -> None:
    with pytest.raises(InputError, match=r"--ids: no image of record 'n9.nothing' in .*smoke"):
        run(shared / "golden" / "smoke-x86_64.jsonl.xz", ids=("n9.nothing",))
