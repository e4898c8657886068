"""x86_64: loads that may fault, arena accesses and atomic operations."""

from __future__ import annotations

from tramposim._native.rules import IMM, OFFSET, local
from tramposim.bpf import insn as isa
from tramposim.errors import UnsupportedError
from tramposim.jit.rules import Rule
from tramposim.jit.x86_64.registers import AUX, R12, RAX, SCRATCH

__all__ = [
    "LOADS",
    "SIGNED_LOADS",
    "STORES",
    "arena_access",
    "arena_atomic",
    "atomic",
    "probed_load",
]

LOADS = {isa.B: "load8_64", isa.H: "load16_64", isa.W: "load32", isa.DW: "load64"}
SIGNED_LOADS = {isa.B: "loads8", isa.H: "loads16", isa.W: "loads32"}
STORES = {isa.B: "store8", isa.H: "store16", isa.W: "store32", isa.DW: "store64"}
_IMMEDIATESTORES = {isa.B: "storei8", isa.H: "storei16", isa.W: "storei32", isa.DW: "storei64"}
_ARENA_LOADS = {
    isa.B: "load8_index",
    isa.H: "load16_index",
    isa.W: "load32_index",
    isa.DW: "load64_index",
}
_ARENA_SIGNED_LOADS = {isa.B: "loads8_index", isa.H: "loads16_index", isa.W: "loads32_index"}

_VSYSCALL = -(10 << 20)

_PLAIN = {isa.ADD: "add", isa.OR: "or", isa.AND: "and", isa.XOR: "xor"}
_NOT_EQUAL = 5
_ABOVE = 7


def probed_load(dst: int, src: int, offset: int, load: str, address_bits: int) -> Rule:
    """A load from a pointer that may be bad: zero instead unless it is a kernel address.

    The address must lie above user space (of 47 or, with five-level paging, 56 bits) and
    below the vsyscall page; one in range but unmapped is left to the exception table.
    """
    check: list[tuple[object, ...]] = [
        ("movi", SCRATCH, _VSYSCALL),
        ("mov", AUX, src),
    ]
    if offset:
        check.append(("addi_wide", AUX, offset))
    return [
        *check,
        ("sub", AUX, SCRATCH),
        ("movi", SCRATCH, (1 << address_bits) - _VSYSCALL),
        ("cmp", AUX, SCRATCH),
        ("jcc_short", _ABOVE, local(0)),
        ("movi32", dst, 0),
        ("jmp_short", local(1)),
        ("label", 0),
        (load, dst, src, offset),
        ("label", 1),
    ]


def arena_access(opcode: int, dst: int, src: int) -> Rule:
    """A load or store in the arena, whose base is in r12."""
    size, mode, cls = opcode & 0x18, opcode & 0xE0, opcode & 7
    if cls == isa.ST:
        return [(_IMMEDIATESTORES[size] + "_index", dst, R12, OFFSET, IMM)]
    if cls == isa.STX:
        return [(STORES[size] + "_index", dst, R12, OFFSET, src)]
    loads = _ARENA_LOADS if mode == isa.PROBE_MEM32 else _ARENA_SIGNED_LOADS
    return [(loads[size], dst, src, R12, OFFSET)]


def _name(imm: int, wide: bool, locked_exchange: bool) -> str:
    if imm == isa.XCHG:
        name = "lock_xchg" if locked_exchange else "xchg_mem"
    elif imm == isa.CMPXCHG:
        name = "lock_cmpxchg"
    elif imm == isa.ADD | isa.FETCH:
        name = "lock_xadd"
    elif imm in _PLAIN:
        name = "lock_" + _PLAIN[imm]
    else:
        raise UnsupportedError(f"x86_64: atomic operation {imm:#x}")
    return name if wide else name + "32"


def atomic(size: int, imm: int, dst: int, src: int, locked_exchange: bool) -> Rule:
    """An atomic operation on memory at dst + offset."""
    if imm == isa.LOAD_ACQ:
        return [(LOADS[size], dst, src, OFFSET)]
    if imm == isa.STORE_REL:
        return [(STORES[size], dst, OFFSET, src)]
    if size not in (isa.W, isa.DW):
        raise UnsupportedError(f"x86_64: atomic operation {imm:#x} of {isa.SIZES[size]} bytes")
    wide = size == isa.DW
    if imm & isa.FETCH and imm & ~isa.FETCH in (isa.AND, isa.OR, isa.XOR):
        return _fetching_loop(size, _PLAIN[imm & ~isa.FETCH], dst, src)
    return [(_name(imm, wide, locked_exchange), dst, OFFSET, src)]


def _fetching_loop(size: int, operation: str, dst: int, src: int) -> Rule:
    """Fetch-and/or/xor, which x86_64 has not: compare-and-exchange until it succeeds."""
    wide = size == isa.DW
    suffix = "" if wide else "32"
    base = SCRATCH if dst == RAX else dst
    operand = SCRATCH if src == RAX else src
    return [
        ("mov", SCRATCH, RAX),
        ("label", 0),
        (LOADS[size], RAX, base, OFFSET),
        ("mov" + suffix, AUX, RAX),
        (operation + suffix, AUX, operand),
        ("lock_cmpxchg" + suffix, base, OFFSET, AUX),
        ("jcc_short", _NOT_EQUAL, local(0)),
        ("mov" + suffix, operand, RAX),
        ("mov", RAX, SCRATCH),
    ]


def arena_atomic(size: int, imm: int, dst: int, src: int, locked_exchange: bool) -> Rule:
    """An atomic operation in the arena."""
    if imm == isa.LOAD_ACQ:
        return [(_ARENA_LOADS[size], dst, src, R12, OFFSET)]
    if imm == isa.STORE_REL:
        return [(STORES[size] + "_index", dst, R12, OFFSET, src)]
    if size not in (isa.W, isa.DW):
        raise UnsupportedError(f"x86_64: atomic operation {imm:#x} of {isa.SIZES[size]} bytes")
    name = _name(imm, size == isa.DW, locked_exchange)
    return [(name + "_index", dst, R12, OFFSET, src)]
