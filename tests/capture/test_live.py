"""Reading the running kernel: what it says where it is not allowed to."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest
from support.running import Bytes, core_file

from tramposim.capture.kallsyms import parse_kallsyms
from tramposim.capture.kcore import CoreMemory
from tramposim.capture.live import live_view
from tramposim.cli import main
from tramposim.errors import InputError, UnsupportedError

SYMBOLS = "ffffffff81000000 T _stext\nffffffff81000010 t f\nffffffff81000010 T g\t[bpf]\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc with symbols and memory, on x86_64."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text(SYMBOLS)
    (tmp_path / "proc/kcore").write_bytes(core_file("x86_64", {0xFFFFFFFF81000000: bytes(64)}))
    return tmp_path


def test_what_is_missing_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="/sys/kernel/btf/vmlinux: is not there; the kernel needs"):
        live_view(root, uid=0)
    (root / "proc/kcore").unlink()
    with pytest.raises(InputError, match="/proc/kcore: is not there; the kernel needs CONFIG_PROC"):
        live_view(root, uid=0)
    (root / "sys/kernel/security").mkdir(parents=True)
    (root / "sys/kernel/security/lockdown").write_text("none integrity [confidentiality]\n")
    with pytest.raises(InputError, match=r"kernel lockdown \(confidentiality\) forbids reading"):
        live_view(root, uid=0)
    (root / "proc/kallsyms").write_text("0000000000000000 T _stext\n")
    with pytest.raises(InputError, match="addresses are hidden; be root, and set sysctl"):
        live_view(root, uid=0)
    (root / "proc/kallsyms").unlink()
    with pytest.raises(InputError, match="/proc/kallsyms: cannot be read"):
        live_view(root, uid=0)
    with pytest.raises(InputError, match="needs root"):
        live_view(root, uid=1000)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(UnsupportedError, match="this machine is riscv64"):
        live_view(root, uid=0)


def test_a_core_of_another_machine_is_refused(root: Path) -> None:
    (root / "proc/kcore").write_bytes(core_file("arm64", {0xFFFF800080000000: bytes(64)}))
    with pytest.raises(InputError, match="/proc/kcore: is of arm64, this machine is x86_64"):
        live_view(root, uid=0)


def test_the_command_says_why_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert main(["capture", "tcp_v4_rcv"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tramposim: capture: needs root: it reads kernel memory")
    assert error.count("\n") == 1


def test_symbols() -> None:
    symbols = parse_kallsyms(SYMBOLS.splitlines())
    assert symbols.address("f") == 0xFFFFFFFF81000010
    assert set(symbols.names_at(0xFFFFFFFF81000010)) == {"f", "g"}
    assert symbols.function_at(0xFFFFFFFF8100000F) == ("_stext", 0xFFFFFFFF81000000)
    assert symbols.size_of(0xFFFFFFFF81000000) == 16
    for bad in ("zz T f", "1 T", "1 TT f", f"{1 << 64:x} T f", "-1 T f"):
        with pytest.raises(InputError, match="/proc/kallsyms:1: "):
            parse_kallsyms([bad])
    with pytest.raises(InputError, match="holds no symbols"):
        parse_kallsyms([])


def test_memory_of_a_core() -> None:
    core = core_file("x86_64", {0x1000: b"abcd", 0x2000: b"efgh"})
    memory = CoreMemory(Bytes(core))
    assert memory.read(0x1001, 2) == b"bc"
    assert memory.read_some(0x2002, 100) == b"gh"
    assert memory.read_int(0x2000, 2) == int.from_bytes(b"ef", "little")
    for address, size in ((0x1002, 4), (0xFFF, 1), (0x3000, 1), (0x1000, 1 << 30)):
        with pytest.raises(InputError, match="/proc/kcore"):
            memory.read(address, size)
    endless = bytearray(core)
    struct.pack_into("<Q", endless, 64 + 8, 1 << 63)
    with pytest.raises(InputError, match="/proc/kcore: ends within the 4 bytes at offset 0x8"):
        CoreMemory(Bytes(bytes(endless))).read(0x1000, 4)
    for wrong in (
        b"",
        b"\x7fELF" + bytes(80),
        core[:70],
        core.replace(b"\x7fELF\x02", b"\x7fELF\x01"),
    ):
        with pytest.raises(InputError, match="/proc/kcore: "):
            CoreMemory(Bytes(wrong))
