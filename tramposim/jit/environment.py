"""The kernel that programs are compiled in, as the JIT sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tramposim.jit.versions import JitOffsets, JitRules, jit_rules
from tramposim.spec import Kernel

__all__ = ["JitEnvironment"]


@dataclass(frozen=True, slots=True)
class JitEnvironment:
    """The kernel that a program is compiled in.

    `symbols` are addresses by kernel name; `accounted` are addresses of functions before
    which call-depth accounting already stands (they get no accounting of their own).
    `offsets` is given where structures are laid out otherwise than in the version's captured
    build. `five_level_paging` (x86_64) decides what a pointer to user space is.
    """

    kernel: Kernel
    symbols: Mapping[str, int]
    offsets: JitOffsets | None = None
    accounted: frozenset[int] = frozenset()
    five_level_paging: bool = False

    @property
    def rules(self) -> JitRules:
        """What this kernel's version does differently, with the environment's own offsets."""
        rules = jit_rules(self.kernel.version)
        return rules if self.offsets is None else replace(rules, offsets=self.offsets)
