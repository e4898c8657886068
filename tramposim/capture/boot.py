"""Which kernel a capture's boot record describes."""

from __future__ import annotations

from pathlib import Path

from tramposim.capture.records import BootRecord, Capture, FuncRecord
from tramposim.errors import InputError, UnsupportedError
from tramposim.jit.trampoline import THUNKS
from tramposim.kernel.versions import rules_for
from tramposim.spec import Arch, Kernel, Returns

__all__ = ["boot_kernel", "boot_symbols", "padded_functions"]

_NO_ATOMICS = {"a72", "no-atomics"}
"""Variants booted on an arm64 CPU without LSE and pointer authentication."""
_ACCOUNTING = bytes.fromhex("6548c13d")
"""sarq imm8, %gs:disp32(%rip), as it begins."""


def boot_kernel(boot: BootRecord, where: str) -> Kernel:
    """The kernel and its knobs. Raises `UnsupportedError` for an unknown arch or version."""
    if boot.arch not in tuple(Arch):
        raise UnsupportedError(f"{where}: architecture {boot.arch!r} is not supported")
    kernel = Kernel(
        Arch(boot.arch),
        boot.kernel,
        returns=_returns(boot),
        retpoline="retpoline" in (boot.vulnerabilities.get("spectre_v2") or "").lower(),
        lse=boot.variant not in _NO_ATOMICS,
    )
    rules_for(kernel)
    return kernel


def _returns(boot: BootRecord) -> Returns:
    for returns, thunk in THUNKS.items():
        if thunk in boot.x86_return_thunk_symbols:
            return returns
    if (boot.vulnerabilities.get("retbleed") or "").strip() == "Mitigation: Stuffing":
        return Returns.STUFFING
    return Returns.PLAIN


def boot_symbols(boot: BootRecord) -> dict[str, int]:
    """Kernel symbols of the boot that have an address."""
    return {name: address for name, address in boot.symbols.items() if address is not None}


def padded_functions(path: Path, boot: BootRecord, default: frozenset[str]) -> frozenset[str]:
    """Functions that hold call-depth accounting in their padding, for a capture at `path`.

    Read from the `-runtime` file of the same boot variant beside it; `default` (what the
    known build has) if there is none.
    """
    beside = path.with_name(f"{boot.arch}-{boot.kernel}-{boot.variant}-runtime.jsonl.xz")
    if not beside.is_file():
        return default
    padded: set[str] = set()
    for where, record in Capture(beside):
        if isinstance(record, FuncRecord) and record.pre16:
            try:
                before = bytes.fromhex(record.pre16)
            except ValueError:
                raise InputError("pre16 is not hex", where) from None
            if before[-9:-5] == _ACCOUNTING:
                padded.update((record.name, *record.aliases))
    return frozenset(padded)
