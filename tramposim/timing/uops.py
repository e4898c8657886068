"""What an instruction is made of: the shared vocabulary between the two architectures' decoders.

A decoder turns machine code into `InsnSpec`s whose uops name a *class* (`alu`, `load`,
`div64` ...). Which ports and latencies a class has is the business of a core description.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

__all__ = [
    "FLAG_CARRY",
    "FLAG_REST",
    "TEMPORARY",
    "Branch",
    "InsnSpec",
    "Kind",
    "UopFlag",
    "UopSpec",
]

FLAG_CARRY = 32
"""Register number of the carry flag (x86_64; renamed apart from the other flags)."""
FLAG_REST = 33
"""Register number of the remaining flags (arm64: all of NZCV)."""
TEMPORARY = 40
"""First of the registers that exist only inside one instruction."""


class Kind(IntEnum):
    """How the pipeline treats a uop (`UopKind` of `_native/uarch.pxd`; the last two are ours).

    FOLD is an addition of a small immediate, which some cores execute at rename.
    """

    EXEC = 0
    LOAD = 1
    STORE_ADDRESS = 2
    STORE_DATA = 3
    ELIMINATED = 4
    ZERO = 5
    NOP = 6
    FOLD = 7


class UopFlag(IntFlag):
    """`UopFlag` of `_native/uarch.pxd`."""

    NONE = 0
    LOCKED = 1
    DRAIN = 2
    BLOCK = 4
    UNRENAMED = 8
    BRANCH = 16
    READ_STACK = 32
    MOVE_STACK = 64
    EARLY_FLAGS = 128


class Branch(IntEnum):
    """`BranchKind` of `_native/uarch.pxd`."""

    NONE = 0
    CONDITIONAL = 1
    JUMP = 2
    CALL = 3
    RETURN = 4
    INDIRECT_JUMP = 5
    INDIRECT_CALL = 6


@dataclass(frozen=True, slots=True)
class UopSpec:
    """One uop before a core is chosen.

    `name` is the class; `sources` and `results` are register numbers; `slot` tells whether it
    takes a rename slot of its own or shares the previous one's (micro-fusion). For kinds that
    a core may lack (elimination, folding), `name` is the class it falls back to.
    """

    kind: Kind
    name: str
    sources: tuple[int, ...] = ()
    results: tuple[int, ...] = ()
    slot: bool = True
    flags: UopFlag = UopFlag.NONE


@dataclass(frozen=True, slots=True)
class InsnSpec:
    """One instruction: its text, uops and what the front end must know.

    `fuses` is the set of branch mnemonics into which it macro-fuses (empty: none); `indexed`
    that a memory operand has an index register (un-lamination, renaming of memory), `segment`
    that it is relative to a segment base (x86_64's fs and gs);
    `length_changing` that a prefix changes the length of its immediate; `pair` that its one
    store writes all the accesses recorded for it;
    `wide_immediate` that a 64-bit immediate takes a second entry of a uop cache; `high_byte` that
    it writes bits 8 to 15 of a register;
    `position_dependent` that an address or result depends on where the instruction lies.
    """

    text: str
    size: int
    uops: tuple[UopSpec, ...]
    branch: Branch = Branch.NONE
    fuses: frozenset[str] = frozenset()
    mnemonic: str = ""
    indexed: bool = False
    segment: bool = False
    length_changing: bool = False
    orders_loads: bool = False
    repeated: bool = False
    pair: bool = False
    wide_immediate: bool = False
    high_byte: bool = False
    position_dependent: bool = False
