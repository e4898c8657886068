"""Captures made from a kernel's files: the images verify, and replay as the golden records do."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.running import Running, core_file, running

from tramposim.capture.assemble import capture_records
from tramposim.capture.decode import decode_image
from tramposim.capture.records import Capture, CaseRecord, decode_hex
from tramposim.capture.runtime import read_runtime
from tramposim.capture.view import kernel_version
from tramposim.errors import InputError, TramposimError
from tramposim.kernel.nodes import TrampFlag
from tramposim.spec import Arch
from tramposim.study.replay import ReplayRequest, replay
from tramposim.study.subject import DEFAULT_CORES
from tramposim.study.verify import verify_capture
from tramposim.timing import load_core

CASES = [
    ("smoke-x86_64", "n1.bpf_fentry_test1.fs"),
    ("smoke-x86_64", "mix.bpf_fentry_test1.ip.fs"),
    ("smoke-x86_64", "body.bpf_fentry_test1.fs.lat"),
    ("x86_64-6.12.107-default-trampolines", "n1.bpf_fentry_test1.fe_fx"),
    ("x86_64-7.2.13-its-trampolines", "n1.bpf_fentry_test1.fe_fx"),
    ("x86_64-7.2.13-stuff-trampolines", "n1.bpf_fentry_test1.fe_fx"),
    ("x86_64-7.2.13-default-trampolines", "n3.bpf_modify_return_test2.fm"),
    ("x86_64-7.2.13-default-trampolines", "lsm.bpf_lsm_socket_bind.2"),
    ("smoke-arm64", "n1.bpf_fentry_test1.fe_fx"),
    ("smoke-arm64", "mix.bpf_fentry_test1.fsc+fsc+fs+fx"),
    ("smoke-arm64", "mix.bpf_fentry_test1.ip.fe"),
]


def capture(kernel: Running, path: Path) -> Path:
    lines = (json.dumps(r) + "\n" for r in capture_records(kernel.view(), [kernel.case["target"]]))
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(("file", "record"), CASES)
def test_a_captured_function_verifies_and_replays(
    file: str, record: str, shared: Path, tmp_path: Path
) -> None:
    kernel = running(shared, file, record)
    path = capture(kernel, tmp_path / "captured.jsonl")
    checks = list(verify_capture(path))
    assert [check.problem for check in checks] == [None] * (1 + len(kernel.case["progs"]))
    (_, case), *_ = Capture(path)
    assert isinstance(case, CaseRecord)
    assert case.flags == kernel.case["flags"]
    assert case.code_len == kernel.case["code_len"]
    if case.flags & TrampFlag.CALL_ORIG:
        assert (case.im, case.im_size) == (kernel.case["im"], kernel.case["im_size"])

    def cycles(capture: Path, ids: tuple[str, ...] | None = None) -> tuple[object, object]:
        core = load_core(DEFAULT_CORES[Arch(kernel.boot.arch)])
        (row,) = replay(ReplayRequest((capture,), lambda arch: core, ids)).records.rows
        return row.get("instructions_per_call"), row.get("cycles_per_call")

    golden = shared / "golden" / f"{file}.jsonl.xz"
    assert cycles(path) == cycles(golden, (record,))


@pytest.mark.parametrize(
    "file",
    ["smoke-x86_64", "smoke-arm64", "x86_64-7.1.13-default-trampolines",
     "arm64-7.1.13-max-trampolines"],
)  # fmt: skip
def test_images_are_decoded_to_what_the_records_say(file: str, shared: Path) -> None:
    capture = Capture(shared / "golden" / f"{file}.jsonl.xz")
    names = {address: name for name, address in capture.boot.symbols.items() if address}
    names |= {a: n for a, n in names.items() if n.startswith("__bpf_")}
    for where, case in capture:
        if not isinstance(case, CaseRecord) or case.img is None or case.func_addr is None:
            continue
        assert case.image is not None
        assert case.nodes is not None
        image = decode_image(
            Arch(capture.boot.arch),
            decode_hex(case.img, "img", where),
            case.image,
            range(case.func_addr, case.func_addr + 17),
            lambda address: names.get(address) or "",
        )
        listed = [*case.nodes.fentry, *case.nodes.fmod_ret, *case.nodes.fexit]
        assert [(n.p, n.bpf_func, n.cookie) for n in image.nodes] == [
            (n.p, n.bpf_func, n.cookie) for n in listed
        ], case.id
        assert image.length == case.code_len, case.id
        assert image.flags == (case.flags or 0) & 7, case.id
        assert image.im == (case.im if (case.flags or 0) & TrampFlag.CALL_ORIG else 0), case.id


def test_recorded_layouts_of_maps_are_used(shared: Path, tmp_path: Path) -> None:
    kernel = running(shared, "smoke-x86_64", "n1.bpf_fentry_test1.fs")
    assert not read_runtime(capture(kernel, tmp_path / "a.jsonl"), kernel.boot).maps_recorded
    member = {"name": "buckets", "off": 0x1B8, "bit": None, "bits": None, "size": 8}
    for name in ("bpf_map_ops", "bucket", "htab_elem", "pcpu_freelist"):
        kernel.layouts[name] = {"size": 16, "members": []}
    kernel.layouts["bpf_htab"] = {"size": 0x380, "members": [member]}
    runtime = read_runtime(capture(kernel, tmp_path / "b.jsonl"), kernel.boot)
    assert runtime.maps_recorded
    assert runtime.structs.offset("bpf_htab.buckets") == 0x1B8


def test_functions_without_programs_are_refused(shared: Path) -> None:
    kernel = running(shared, "smoke-x86_64", "n1.bpf_fentry_test1.fs")
    with pytest.raises(InputError, match="bpf_fentry_test2: no BPF program traces it; attach one"):
        list(capture_records(kernel.view(), ["bpf_fentry_test2"]))
    with pytest.raises(InputError, match="the kernel has no symbol 'no_such'"):
        list(capture_records(kernel.view(), ["no_such"]))
    unnamed = kernel.kallsyms.replace("bpf_trampoline_", "somebody_elses_")
    with pytest.raises(InputError, match="no BPF program traces it; its entry goes to somebody"):
        list(capture_records(kernel.view(kallsyms=unnamed), ["bpf_fentry_test1"]))


@pytest.mark.parametrize("file", ["smoke-x86_64", "smoke-arm64"])
def test_broken_memory_is_a_named_error(file: str, shared: Path) -> None:
    """Blocks missing, bytes changed, the core file cut: an error of ours or a capture."""
    kernel = running(shared, file, "n1.bpf_fentry_test1.fs")
    target = [kernel.case["target"]]
    generator = random.Random(11)
    core = kernel.core
    needed = [kernel.case["image"], kernel.case["im"], kernel.case["progs"][0]["main"]["p"]]

    def without(address: int) -> bytes:
        blocks = {a: d for a, d in kernel.blocks.items() if a != address}
        return core_file(kernel.boot.arch, blocks)

    def cut() -> bytes:
        return core[: generator.randrange(len(core))]

    def changed() -> bytes:
        data = bytearray(core)
        for _ in range(8):
            data[generator.randrange(min(len(data), 4096))] = generator.randrange(256)
        return bytes(data)

    for address in needed:
        with pytest.raises(InputError, match=r"/proc/kcore: has no|is not that of a trampoline"):
            list(capture_records(kernel.view(without(address)), target))
    makers: list[Callable[[], bytes]] = [cut, changed]
    for number in range(40):
        with suppress(TramposimError):
            list(capture_records(kernel.view(makers[number % 2]()), target))


def test_kernel_versions_of_releases() -> None:
    assert kernel_version("7.2.13+deb14-cloud-amd64") == "7.2.13"
    assert kernel_version("7.3.0-rc7") == "7.3-rc7"
    assert kernel_version("6.12.107+deb13-amd64") == "6.12.107"
    with pytest.raises(InputError, match="no kernel version"):
        kernel_version("linux")
