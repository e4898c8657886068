"""Kernels from the words of options and workload files."""

from __future__ import annotations

from tramposim.errors import InputError
from tramposim.kernel.versions import VERSIONS, series_of
from tramposim.spec import Arch, Entry, Kernel, Returns

__all__ = ["kernel_of"]


def kernel_of(
    arch: Arch | str,
    version: str,
    entry: str | None = None,
    returns: str | None = None,
) -> Kernel:
    """A kernel from option words; raises `InputError` that lists the words that exist.

    Knobs of the other architecture are refused rather than ignored.
    """
    arch = Arch(arch)
    if series_of(version) not in VERSIONS:
        known = ", ".join(VERSIONS)
        raise InputError(f"kernel {version!r} is not known; known are {known}", "--kernel")
    entries = (Entry.JMP, Entry.CALL) if arch is Arch.X86_64 else (Entry.FTRACE, Entry.BL)
    if entry is not None and entry not in {mode.value for mode in entries}:
        known = " and ".join(mode.value for mode in entries)
        raise InputError(f"{entry!r} is no way to enter on {arch}; known are {known}", "--entry")
    if returns is not None and returns not in {kind.value for kind in Returns}:
        known = ", ".join(kind.value for kind in Returns)
        raise InputError(f"unknown kind of return {returns!r}; known are {known}", "--returns")
    if returns is not None and arch is Arch.ARM64 and returns != Returns.PLAIN.value:
        raise InputError(f"{returns!r}: return thunks exist on x86_64 only", "--returns")
    return Kernel(
        arch=arch,
        version=version,
        entry=Entry(entry) if entry else None,
        returns=Returns(returns or Returns.PLAIN),
        smp=True,
    )
