"""What a capture is made from: everything that is read of a running kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tramposim.capture.kallsyms import Symbols
from tramposim.capture.kcore import CoreMemory
from tramposim.capture.layouts import Layouts
from tramposim.errors import InputError
from tramposim.spec import Arch, Prototype

__all__ = ["KernelView", "LoadedMap", "LoadedProgramInfo", "kernel_version"]

_VERSION = re.compile(r"(\d+\.\d+)(\.\d+)?(-rc\d+)?")


@dataclass(frozen=True, slots=True)
class LoadedProgramInfo:
    """A loaded program as bpf(2) describes it (struct bpf_prog_info)."""

    id: int
    type: int
    name: str
    jited: bytes
    ksyms: tuple[int, ...]
    func_lens: tuple[int, ...]
    xlated: bytes = b""
    map_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A map as bpf(2) describes it (struct bpf_map_info); sizes in bytes."""

    id: int
    type: int
    name: str
    key_size: int
    value_size: int
    max_entries: int


@dataclass(frozen=True, slots=True)
class KernelView:
    """A kernel: its symbols, memory, structure layouts, functions' prototypes, programs by the
    address of their code, maps by id. `atomics` tells whether an arm64 CPU has LSE."""

    release: str
    symbols: Symbols
    memory: CoreMemory
    layouts: Layouts
    prototype_of: Callable[[str], Prototype]
    programs: Mapping[int, LoadedProgramInfo]
    maps: Mapping[int, LoadedMap] = field(default_factory=dict)
    vulnerabilities: Mapping[str, str] = field(default_factory=dict)
    cmdline: str = ""
    atomics: bool = True

    @property
    def arch(self) -> Arch:
        """The kernel's architecture."""
        return self.memory.arch


def kernel_version(release: str) -> str:
    """`7.2.13` of `7.2.13+deb14-cloud-amd64`, `7.3-rc7` of `7.3.0-rc7`; raises `InputError`."""
    match = _VERSION.match(release)
    if match is None:
        raise InputError(f"release {release[:60]!r} is no kernel version")
    series, patch, candidate = match.groups()
    return series + (candidate or patch or "")
