"""Every example that `--help` shows runs, on files of the kinds that it names."""

from __future__ import annotations

import json
import lzma
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tramposim.bpf.compile import compile_c
from tramposim.cli import COMMANDS, main

PROJECT = Path(__file__).parents[2]
BODIES = PROJECT / "tramposim" / "study" / "bodies"

HERE_ONLY = {
    "/sys/": "needs a kernel's BTF",
    "System.map": "needs the dump of a running kernel",
    "/proc/": "needs the dump of a running kernel",
    "tramposim capture": "needs root and a traced function",
    "tcp_v4_rcv": "needs root and a traced function",
}
"""Words of an example that this machine may not be able to run, and why."""

SLOW = (
    "tramposim bench",
    "tramposim compare",
    "tramposim explain",
    "tramposim cores --acc",
    "tramposim cores golden-cove --acc",
    "tramposim cores neoverse-v1 --sens",
    "tramposim load",
    "tramposim native",
    "tramposim report",
    "tramposim run",
    "tramposim sweep",
    "tramposim validate",
)
"""Commands whose examples are left to the longer corpora, except for the first of each."""

ALL_SLOW = (
    "tramposim cores --acc",
    "tramposim cores golden-cove --acc",
    "tramposim cores neoverse-v1 --sens",
    "tramposim load",
    "tramposim report",
)
"""Of these the first, too; tests of their own run them in small."""

CASES = ("n1.bpf_fentry_test1.fs", "n1.bpf_fentry_test1.fe_fx", "body.bpf_fentry_test1.fs.lat")
CAPTURE = "x86_64-7.2.13-default-trampolines.jsonl.xz"
RUNTIME = "x86_64-7.2.13-default-runtime.jsonl.xz"


HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "GPL";
"""
SESSION = HEAD + "".join(
    f"""
SEC("{kind}/icmp_rcv")
int BPF_PROG(trace_{name}, struct sk_buff *skb) {{ bpf_printk("{name}"); return 0; }}
"""
    for kind, name in (("fentry", "entry"), ("fexit", "exit"), ("fsession", "session"))
)
FILTERED = (
    HEAD
    + """
const volatile int target_pid = 0;
char name[16] = "all";
SEC("fentry/vfs_read")
int BPF_PROG(filtered)
{
    if (target_pid && target_pid != (int)bpf_get_current_pid_tgid())
        return 0;
    bpf_printk("%s", name);
    return 0;
}
"""
)


def _examples() -> Iterator[pytest.param]:
    """The command lines of all help texts."""
    seen: set[str] = set()
    for name in COMMANDS:
        text = _help(name)
        for line in text.split("Example", 1)[1].splitlines()[1:]:
            if "tramposim" not in line:
                continue
            start = next((words for words in SLOW if line.strip().startswith(words)), "")
            slow = start in ALL_SLOW or (bool(start) and start in seen)
            seen.add(start)
            yield pytest.param(
                line.strip(), marks=pytest.mark.slow if slow else (), id=line.strip()
            )


def _help(name: str) -> str:
    """What `tramposim NAME --help` prints."""
    import contextlib
    import io

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main([name, "--help"]) == 0
    return text.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what examples name and needs no compiler and no reference data."""
    folder = tmp_path_factory.mktemp("examples") / "project"
    folder.mkdir()
    (folder / "workloads").symlink_to(PROJECT / "workloads")
    (folder / "session.bpf.c").write_text(SESSION)
    (folder / "latency.bpf.c").write_text(FILTERED)
    shutil.copy(BODIES / "fsession.latency-hash.bpf", folder / "latency.bpf")
    (folder / "session.bpf").write_text(".section fentry/f\nentry:\n  r0 = 0\n  exit\n")
    shutil.copy(PROJECT / "tests/bpf/conformance/alu64_add_sub.data", folder / "add.data")
    (folder / "filter.bpf").write_text(".section socket\nfilter:\n  r0 = 0\n  exit\n")
    (folder / "blocks.csv").write_text("hex\n4801c8\n480fafc1\n")
    for name in ("base", "new"):
        words = ["compare", "--arch", "x86_64", "--scenario", "fsession", "--format", "json"]
        assert main([*words, "-o", str(folder / f"{name}.json")]) == 0
    shutil.copy(folder / "base.json", folder / "compare.json")
    words = ["sweep", "--core", "zen3", "--scenario", "fsession", "--arch", "x86_64"]
    assert main([*words, "--jobs", "1", "--format", "json", "-o", str(folder / "sweep.json")]) == 0
    return folder


@pytest.fixture(scope="module")
def captures(files: Path, shared: Path) -> None:
    """A small capture with its kernel's functions beside it, and the measurements."""
    kept = []
    with lzma.open(shared / "golden" / CAPTURE, "rt") as lines:
        for line in lines:
            record = json.loads(line)
            if record["rec"] == "boot" or record.get("id") in CASES:
                kept.append(line)
    with lzma.open(files / CAPTURE, "wt") as file:
        file.writelines(kept)
    shutil.copy(files / CAPTURE, files / "capture.jsonl.xz")
    (files / "captures").mkdir()
    shutil.copy(files / CAPTURE, files / "captures")
    (files / RUNTIME).symlink_to((shared / "golden" / RUNTIME).resolve())
    (files / "hardware").symlink_to((shared / "hardware").resolve())
    (files.parent / "shared").symlink_to(shared.resolve())


@pytest.mark.parametrize("example", list(_examples()))
def test_an_example_of_a_help_text_runs(
    example: str,
    files: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, why in HERE_ONLY.items():
        if words in example:
            pytest.skip(why)
    if not example.startswith("tramposim "):
        pytest.skip("begins with a command of another package")
    if re.search(r"\.bpf\.[co]\b", example):
        if shutil.which("clang") is None and find_spec("ziglang") is None:
            pytest.skip("needs a C compiler for BPF")
        for source in files.glob("*.bpf.c"):
            (files / source.name).with_suffix(".o").write_bytes(compile_c(source))
    if "capture" in example or "hardware" in example:
        request.getfixturevalue("captures")
    if example.startswith("tramposim replay"):
        # The functions of a capture from elsewhere are found by its name.
        example = example.replace("capture.jsonl.xz", CAPTURE)
    here = tmp_path / "project"
    here.mkdir()
    for path in (*files.iterdir(), *(files.parent.glob("shared"))):
        (here.parent if path.name == "shared" else here).joinpath(path.name).symlink_to(path)
    monkeypatch.chdir(here)
    status = main(_words(example))
    error = capsys.readouterr().err
    if example.startswith("tramposim native") and status == 3:
        pytest.skip(f"not on this machine: {error}")
    assert status == 0, error


def _words(example: str) -> list[str]:
    """The arguments of an example, as a shell gives them; less time is simulated."""
    words = []
    for word in shlex.split(example.split(" | ")[0])[1:]:
        words += sorted(map(str, Path().glob(word))) if "*.jsonl" in word else [word]
    if words[0] == "load" and "--duration" not in words:
        words += ["--duration", "5ms"]
    return words
