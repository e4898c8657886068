"""What the program JITs of kernel versions do differently: one row per version, no ifs elsewhere.

Source of every row: programs that booted kernels compiled (6.12.107, 7.0.13, 7.1.13, 7.2.13,
7.3-rc7), and the structure layouts of their BTF.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tramposim.errors import UnsupportedError
from tramposim.kernel.versions import series_of

__all__ = ["JIT_VERSIONS", "JitOffsets", "JitRules", "jit_rules"]


@dataclass(frozen=True, slots=True)
class JitOffsets:
    """Offsets in kernel structures that compiled code uses, in bytes."""

    map_max_entries: int
    array_ptrs: int
    prog_bpf_func: int
    thread_info_cpu: int
    """arm64; x86_64 reads the processor's number from per-CPU data."""


@dataclass(frozen=True, slots=True)
class JitRules:
    """How a kernel version compiles programs.

    - `offsets`: structure layouts.
    - `scratch`: number of the verifier's own register.
    - `result`: arm64 machine register of r0.
    - `counter_for_helpers`: x86_64 loads the tail call counter before helper calls, too.
    - `locked_exchange`: x86_64 puts a lock prefix before xchg, which needs none.
    - `short_offsets`: arm64 atomics add an offset as an immediate if it fits.
    - `shared_sum`: arm64 arena stores of a constant share a register with a far offset.
    """

    offsets: JitOffsets
    scratch: int
    result: int
    counter_for_helpers: bool
    locked_exchange: bool
    short_offsets: bool
    shared_sum: bool


JIT_VERSIONS: dict[str, JitRules] = {
    "6.12": JitRules(JitOffsets(36, 264, 48, 16), 11, 7, True, True, False, True),
    "7.0": JitRules(JitOffsets(68, 304, 72, 16), 11, 7, False, False, True, False),
    "7.1": JitRules(JitOffsets(76, 304, 72, 24), 11, 7, False, False, True, False),
    "7.2": JitRules(JitOffsets(76, 304, 72, 24), 12, 8, False, False, True, False),
    "7.3": JitRules(JitOffsets(68, 296, 72, 24), 12, 8, False, False, True, False),
}


@lru_cache(maxsize=64)
def jit_rules(version: str) -> JitRules:
    """Rules of a kernel version; raises `UnsupportedError` if that version is not known."""
    rules = JIT_VERSIONS.get(series_of(version))
    if rules is None:
        raise UnsupportedError(
            f"kernel {version!r} is not known; known are {', '.join(JIT_VERSIONS)}"
        )
    return rules
