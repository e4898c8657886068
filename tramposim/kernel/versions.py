"""What differs between kernel versions, as data: one row per version, no ifs elsewhere.

Source of every row: images and answers of the booted kernels (6.12.107, 7.0.13, 7.1.13,
7.2.13, 7.3-rc7); the limits are enum bpf_tramp BPF_MAX_TRAMP_LINKS as measured by attaching.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tramposim.errors import UnsupportedError
from tramposim.spec import Arch, Kernel

__all__ = ["PADDED_FUNCTIONS", "VERSIONS", "VersionRules", "rules_for", "series_of"]


@dataclass(frozen=True, slots=True)
class VersionRules:
    """How a kernel version builds images and answers attachments.

    - `max_links`: program slots of one trampoline, by architecture.
    - `fsession`, `multi`: whether fsession and tracing_multi links exist.
    - `skip_nops`: a nop before each program call, patched to a jump over it on detach.
    - `nop_after_original`: a nop after the original call, patched on image removal.
    - `jmp_entry`: x86_64 enters images that call the original by jmp.
    - `sealed_endbr`: what an endbr64 sealed by the kernel reads (x86_64).
    - `add_moves`: arm64 register moves are `add rd, rn, #0`.
    - `wide_meta`: arm64 loads the slot count with a 64-bit movz.
    - `words_name_target`: the verifier's refusals of targets name the function.
    - `inlined_guards`: enter and exit pin the task and account inline, not by calls.
    """

    series: str
    max_links: dict[Arch, int]
    fsession: bool
    multi: bool
    skip_nops: bool
    nop_after_original: bool
    jmp_entry: bool
    sealed_endbr: bytes
    add_moves: bool
    wide_meta: bool
    words_name_target: bool
    inlined_guards: bool


_OLD_LINKS = {Arch.X86_64: 38, Arch.ARM64: 38}
_NEW_LINKS = {Arch.X86_64: 36, Arch.ARM64: 37}
_OLD_SEAL = bytes.fromhex("660f1f00")
_NEW_SEAL = bytes.fromhex("0f1f40d6")

VERSIONS: dict[str, VersionRules] = {
    row[0]: VersionRules(*row)
    for row in (
        # series links       fsess multi  skips  after  jmp    sealed     add   wide  words  inline
        ("6.12", _OLD_LINKS, False, False, False, True, False, _OLD_SEAL, True, True, False, False),
        ("7.0", _OLD_LINKS, True, False, False, True, True, _NEW_SEAL, True, False, True, True),
        ("7.1", _OLD_LINKS, True, False, False, True, True, _NEW_SEAL, False, False, True, True),
        ("7.2", _NEW_LINKS, True, True, True, False, True, _NEW_SEAL, False, False, True, True),
        ("7.3", _NEW_LINKS, True, True, True, False, True, _NEW_SEAL, False, False, True, True),
    )
}


PADDED_FUNCTIONS = frozenset(
    {
        "__bpf_prog_enter_sleepable_recur",
        "__bpf_prog_exit_sleepable_recur",
        "__htab_map_lookup_elem",
        "__rcu_read_lock",
        "__rcu_read_unlock",
        "ktime_get_mono_fast_ns",
        "sched_clock",
    }
)
"""Functions that the captured x86_64 build calls directly from its own text, so that with
call-depth accounting their padding holds the accounting instruction and the JIT emits none
(is_callthunk); read from the bytes before them in a booted kernel."""


def series_of(version: str) -> str:
    """`7.2` of `7.2.13`, `7.3` of `7.3-rc7`; the text itself if it is no version."""
    match = re.match(r"([0-9]+\.[0-9]+)(?![0-9])", version)
    return match[1] if match else version


def rules_for(kernel: Kernel) -> VersionRules:
    """Rules of a kernel's version; raises `UnsupportedError` if that version is not known."""
    rules = VERSIONS.get(series_of(kernel.version))
    if rules is None:
        raise UnsupportedError(
            f"kernel {kernel.version!r} is not known; known are {', '.join(VERSIONS)}"
        )
    return rules
