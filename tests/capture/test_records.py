"""Capture files: what is read, and what malformed ones are answered."""

import contextlib
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tramposim.capture import records
from tramposim.capture.records import Capture, CaseRecord
from tramposim.capture.select import select_record
from tramposim.errors import InputError, TramposimError, UnsupportedError
from tramposim.study.verify import first_difference, verify_capture

BOOT = {"rec": "boot", "arch": "x86_64", "kernel": "7.2.13", "symbols": {}}

MODEL = {"ret_size": 4, "ret_flags": 0, "arg_size": [99], "arg_flags": [0]}


def written(path: Path, *records: object) -> Path:
    lines = (r if isinstance(r, str) else json.dumps(r) for r in records)
    path.write_text("\n".join(lines) + "\n")
    return path


def smoke_case(shared: Path) -> tuple[dict, dict]:
    with lzma.open(shared / "golden" / "smoke-x86_64.jsonl.xz") as stream:
        return json.loads(stream.readline()), json.loads(stream.readline())


def test_plain_and_compressed_files_read_the_same(shared: Path, tmp_path: Path) -> None:
    packed = shared / "golden" / "smoke-x86_64.jsonl.xz"
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(lzma.decompress(packed.read_bytes()))
    assert [r.id for _, r in Capture(plain)] == [r.id for _, r in Capture(packed)]


def test_unknown_fields_and_kinds_are_skipped(tmp_path: Path) -> None:
    path = written(
        tmp_path / "c.jsonl",
        {**BOOT, "novel": [1]},
        {"rec": "weather", "sun": True},
        "",
        {"rec": "case", "id": "a", "novel": {}},
    )
    records = list(Capture(path))
    assert [(where, record.id) for where, record in records] == [(f"{path}:4", "a")]
    assert isinstance(records[0][1], CaseRecord)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not a capture record"),
        ("[]", "not a capture record"),
        ('{"rec": "case"}', "malformed record.*`id`"),
        ('{"rec": "case", "id": 5}', "malformed record"),
        ('{"rec": "case", "id": "a", "image": "x"}', "malformed record"),
        (json.dumps(BOOT), "second boot"),
        ("[" * 100000, "not a capture record"),
        (b"\xff\xfe".decode("latin1"), "not a capture record"),
    ],
)
def test_malformed_records_are_located(tmp_path: Path, line: str, problem: str) -> None:
    path = written(tmp_path / "c.jsonl", BOOT, line)
    with pytest.raises(InputError, match=rf"c\.jsonl:2: .*{problem}|c\.jsonl:2: {problem}"):
        list(Capture(path))


def test_files_that_are_no_captures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Capture(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be read"):
        Capture(tmp_path)
    with pytest.raises(InputError, match="begins with"):
        Capture(written(tmp_path / "empty", ""))
    with pytest.raises(InputError, match="begins with"):
        Capture(written(tmp_path / "nobloot", {"rec": "case", "id": "a"}))
    cut = tmp_path / "cut.xz"
    cut.write_bytes(lzma.compress(json.dumps(BOOT).encode() + b"\n" + b"x" * 100000)[:-30])
    with pytest.raises(InputError, match="cannot be read"):
        list(Capture(cut))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"img": "zz"}, "img is not hex"),
        ({"model": None}, "without model"),
        ({"func_addr": None}, "without func_addr"),
        ({"image": 1 << 64}, "no 64-bit value"),
        ({"im": -1}, "no 64-bit value"),
        ({"code_len": 10**9}, "code_len"),
        ({"progs": []}, "no program 'p0'"),
        ({"func_bytes_m16": "q"}, "func_bytes_m16 is not hex"),
        ({"model": {**MODEL, "nr_args": 9}}, "9 arguments without"),
        ({"model": {**MODEL, "nr_args": 1}}, "99 bytes"),
    ],
)  # fmt: skip
def test_records_that_give_no_image(
    shared: Path, tmp_path: Path, changes: dict, problem: str
) -> None:
    boot, case = smoke_case(shared)
    path = written(tmp_path / "c.jsonl", boot, {**case, **changes})
    with pytest.raises(InputError, match=problem):
        list(verify_capture(path))


def test_a_million_programs_are_refused_quickly(shared: Path, tmp_path: Path) -> None:
    boot, case = smoke_case(shared)
    case["nodes"]["fentry"] = ["NODES"]
    head, tail = json.dumps(case).split('"NODES"')
    nodes = ",".join(['{"prog":"p0","p":1,"bpf_func":1}'] * 1_000_000)
    path = written(tmp_path / "c.jsonl", boot, head + nodes + tail)
    with pytest.raises(InputError, match="1000000 programs on one list"):
        list(verify_capture(path))


def test_records_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_LINE", 1 << 20)
    path = tmp_path / "c.jsonl.xz"
    path.write_bytes(lzma.compress(json.dumps(BOOT).encode() + b"\n" + b" " * (2 << 20)))
    with pytest.raises(InputError, match=r"c\.jsonl\.xz:2: a record of more than 1 MiB"):
        list(Capture(path))


ODD_VALUES = (
    None, -1, 0, 1 << 63, 1 << 64, 1 << 200, "", "zz", "00", [], {}, [[]], True, 1.5, [1] * 20,
)  # fmt: skip


def places(value: object, path: tuple = ()) -> list[tuple]:
    inside = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inside = enumerate(value[:2])
    return [p for key, item in inside for p in ((*path, key), *places(item, (*path, key)))]


@settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.data())
def test_no_change_of_a_record_gets_through_as_a_crash(
    shared: Path, tmp_path: Path, data: st.DataObject
) -> None:
    boot, case = smoke_case(shared)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(places(case)))
        holder = case
        for key in path:
            holder = holder[key]
        holder[last] = data.draw(st.sampled_from(ODD_VALUES))
    with contextlib.suppress(TramposimError):
        list(verify_capture(written(tmp_path / "c.jsonl", boot, case)))


def test_unknown_kernels_are_unsupported(tmp_path: Path) -> None:
    case = {"rec": "case", "id": "a", "img": "90"}
    for boot in ({**BOOT, "arch": "riscv"}, {**BOOT, "kernel": "4.19"}):
        with pytest.raises(UnsupportedError):
            list(verify_capture(written(tmp_path / "c.jsonl", boot, case)))


def test_select(shared: Path) -> None:
    path = shared / "golden" / "smoke-arm64.jsonl.xz"
    _, where, record = select_record(f"{path}#n2.bpf_fentry_test1.fs")
    assert record.id == "n2.bpf_fentry_test1.fs"
    assert where.startswith(str(path))
    for spec in (f"{path}#absent", f"{path}#", "#a"):
        with pytest.raises(InputError):
            select_record(spec)


def test_differences_are_shown_with_their_surroundings() -> None:
    assert first_difference(b"same", b"same") is None
    text = str(first_difference(bytes(40), bytes(20) + b"\1" + bytes(19)))
    assert text.startswith("offset 0x14: built 0000")
    assert "0100" in text
    assert str(first_difference(b"", b"\1")).startswith("offset 0x0: built (end) captured 01")
