"""What differs between kernel versions, as data: no ifs on versions elsewhere.

Source of every value: images and answers of the booted kernels (6.12.107, 7.0.13, 7.1.13,
7.2.13, 7.3-rc7); the limits are enum bpf_tramp BPF_MAX_TRAMP_LINKS as measured by attaching.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

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
    - `arm64_stack_args`: arm64 traces functions with arguments on the stack.
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
    arm64_stack_args: bool
    words_name_target: bool
    inlined_guards: bool


_6_12 = VersionRules(
    series="6.12",
    max_links={Arch.X86_64: 38, Arch.ARM64: 38},
    fsession=False,
    multi=False,
    skip_nops=False,
    nop_after_original=True,
    jmp_entry=False,
    sealed_endbr=bytes.fromhex("660f1f00"),
    add_moves=True,
    wide_meta=True,
    arm64_stack_args=False,
    words_name_target=False,
    inlined_guards=False,
)
_7_0 = replace(
    _6_12,
    series="7.0",
    fsession=True,
    jmp_entry=True,
    sealed_endbr=bytes.fromhex("0f1f40d6"),
    wide_meta=False,
    arm64_stack_args=True,
    words_name_target=True,
    inlined_guards=True,
)
_7_1 = replace(_7_0, series="7.1", add_moves=False)
_7_2 = replace(
    _7_1,
    series="7.2",
    max_links={Arch.X86_64: 36, Arch.ARM64: 37},
    multi=True,
    skip_nops=True,
    nop_after_original=False,
)
_7_3 = replace(_7_2, series="7.3")

VERSIONS = {rules.series: rules for rules in (_6_12, _7_0, _7_1, _7_2, _7_3)}
"""Rules of the known versions by series, each what its predecessor has except as listed."""

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
