"""The running kernel as a `KernelView`: /proc, /sys and bpf(2), read only."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tramposim.bpf.btf import Btf, Kind
from tramposim.bpf.vmlinux import kernel_btf
from tramposim.capture.bpfcalls import loaded_maps, loaded_programs, traced_btf_ids
from tramposim.capture.kallsyms import Symbols, parse_kallsyms
from tramposim.capture.kcore import CoreMemory
from tramposim.capture.layouts import btf_layouts
from tramposim.capture.view import KernelView
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Arch

__all__ = ["live_view", "traced_functions"]

_MACHINES = {"x86_64": Arch.X86_64, "aarch64": Arch.ARM64}
_BTF = Path("sys/kernel/btf/vmlinux")


class _File:
    """A file that is read at offsets."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def live_view(root: Path = Path("/"), uid: int | None = None) -> KernelView:
    """The running kernel; `root` is where its /proc and /sys are, `uid` who asks.

    Raises `InputError` with what to do where the kernel does not let itself be read,
    `UnsupportedError` on an architecture that tramposim does not know.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise UnsupportedError(
            f"this machine is {machine}; kernels of x86_64 and aarch64 can be captured"
        )
    if (os.geteuid() if uid is None else uid) != 0:
        raise InputError("needs root: it reads kernel memory and other users' programs", "capture")
    symbols = _symbols(root / "proc/kallsyms")
    memory = _memory(root)
    if memory.arch is not _MACHINES[machine]:
        raise InputError(f"is of {memory.arch}, this machine is {machine}", "/proc/kcore")
    btf = _kernel_types(root)
    return KernelView(
        release=platform.release(),
        symbols=symbols,
        memory=memory,
        layouts=btf_layouts(btf),
        prototype_of=btf.prototype,
        programs=loaded_programs(),
        maps=loaded_maps(),
        vulnerabilities=_vulnerabilities(root),
        cmdline=_text(root / "proc/cmdline"),
        atomics=machine != "aarch64" or "atomics" in _text(root / "proc/cpuinfo").split(),
    )


def traced_functions(root: Path = Path("/")) -> list[str]:
    """Names of the kernel's functions that tracing links trace; raises as `live_view` does."""
    btf = _kernel_types(root)
    names = []
    for number in traced_btf_ids():
        function = btf.get(number)
        if function.kind == Kind.FUNC:
            names.append(function.name)
    if not names:
        raise InputError("no function is traced by a BPF link; name the FUNCTION", "capture")
    return names


def _symbols(path: Path) -> Symbols:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return parse_kallsyms(lines)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}; the kernel needs CONFIG_KALLSYMS", "/proc/kallsyms"
        ) from None


def _memory(root: Path) -> CoreMemory:
    lockdown = _text(root / "sys/kernel/security/lockdown")
    if "[confidentiality]" in lockdown:
        raise InputError(
            "kernel lockdown (confidentiality) forbids reading; boot with lockdown=none",
            "/proc/kcore",
        )
    try:
        return CoreMemory(_File(root / "proc/kcore"))
    except FileNotFoundError:
        raise InputError(
            "is not there; the kernel needs CONFIG_PROC_KCORE", "/proc/kcore"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be opened: {error.strerror}; capturing needs CAP_SYS_RAWIO, not a container's "
            "root",
            "/proc/kcore",
        ) from None


def _kernel_types(root: Path) -> Btf:
    path = root / _BTF
    if not path.exists():
        raise InputError("is not there; the kernel needs CONFIG_DEBUG_INFO_BTF", f"/{_BTF}")
    return kernel_btf(path)


def _vulnerabilities(root: Path) -> dict[str, str]:
    directory = root / "sys/devices/system/cpu/vulnerabilities"
    if not directory.is_dir():
        return {}
    return {path.name: _text(path) for path in sorted(directory.iterdir())}


def _text(path: Path) -> str:
    """Contents of a small file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
