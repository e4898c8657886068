"""x86_64 shifts, bit operations and checksums as uops, a function per family."""

from __future__ import annotations

from capstone import x86_const as x86

from tramposim.timing.instruction import unique
from tramposim.timing.uops import FLAG_CARRY, FLAG_REST, Kind, UopSpec
from tramposim.timing.x86_64_operands import (
    FLAGS,
    RCX,
    RDX,
    RESULT,
    SCRATCH,
    VALUE,
    Operands,
)

__all__ = [
    "bit_field",
    "bit_scan",
    "bit_test",
    "byte_swap",
    "carry_chain",
    "checksum",
    "double_shift",
    "flagless_multiply",
    "lowest_bit",
    "move_swapped",
    "shift",
    "three_operand_shift",
]


def shift(o: Operands, base: str, locked: bool) -> None:
    """shl shr sar rol ror rcl rcr by an immediate, one or cl."""
    rotate = base in ("rol", "ror", "rcl", "rcr")
    count = o.ops[1] if len(o.ops) > 1 else None
    through = (FLAG_CARRY,) if base in ("rcl", "rcr") else ()
    if through:
        name = "rotate_carry"
        if count is not None and not (count.type == x86.X86_OP_IMM and count.imm == 1):
            name += "_cl" if count.type == x86.X86_OP_REG else "_many"
    elif count is not None and count.type == x86.X86_OP_REG:
        name = "rotate_cl" if rotate else "shift_cl"
    else:
        name = "rotate" if rotate else "shift"
    if count is not None and count.type == x86.X86_OP_REG:
        # A zero count leaves the flags alone: merging them is work of its own.
        o.modify(name, (RCX, *through), (SCRATCH,), locked)
        o.uops.append(UopSpec(Kind.EXEC, "flags_merge", (SCRATCH, *FLAGS), FLAGS))
        return
    o.modify(name, through, (FLAG_CARRY,) if rotate else FLAGS, locked)


def double_shift(o: Operands, base: str, locked: bool) -> None:
    """shld, shrd."""
    by_register = o.ops[2].type == x86.X86_OP_REG
    extra = (o.register(o.ops[1]), *((RCX,) if by_register else ()))
    o.modify("double_shift_cl" if by_register else "double_shift", extra, FLAGS, locked)


def three_operand_shift(o: Operands, base: str, _locked: bool) -> None:
    """shlx shrx sarx rorx andn: destination, sources, flags untouched but for andn."""
    sources = tuple(r for op in o.ops[1:] for r in o.source(op))
    name = {"rorx": "rotate_x", "andn": "andn"}.get(base, "shift_x")
    flags = FLAGS if base == "andn" else ()
    o.execute(name, unique(sources), (o.register(o.ops[0]), *flags))


def bit_scan(o: Operands, base: str, _locked: bool) -> None:
    """bsf, bsr, tzcnt, lzcnt, popcnt."""
    register = o.register(o.ops[0])
    sources = o.source(o.ops[1])
    if base in ("bsf", "bsr") or o.ops[0].size < 4:
        sources += (register,)
    names = {"bsf": "bit_scan", "bsr": "bit_scan", "tzcnt": "trailing_zeros"}
    o.execute(names.get(base, "bit_count"), unique(sources), (register, *FLAGS))


def bit_test(o: Operands, base: str, locked: bool) -> None:
    """bt, bts, btr, btc; an index in a register may reach beyond the operand in memory."""
    index = o.source(o.ops[1]) if o.ops[1].type == x86.X86_OP_REG else ()
    if index and o.memory:
        o.uops.append(UopSpec(Kind.EXEC, "bit_address", index, (SCRATCH,)))
        o.offset = (SCRATCH,)
    if base == "bt":
        o.execute("shift", unique((*o.source(o.ops[0]), *index)), (FLAG_CARRY,))
    else:
        o.modify("bit_change", index, (FLAG_CARRY,), locked)


_FIELDS = {
    "bextr": ("bit_extract", FLAGS),
    "bzhi": ("bit_zero_high", FLAGS),
    "pdep": ("bit_deposit", ()),
    "pext": ("bit_deposit", ()),
}
"""Classes and flags of the bit-field instructions of BMI1 and BMI2."""


def bit_field(o: Operands, base: str, _locked: bool) -> None:
    """bextr, bzhi, pdep, pext: destination and two sources."""
    name, flags = _FIELDS[base]
    sources = tuple(r for op in o.ops[1:] for r in o.source(op))
    o.execute(name, unique(sources), (o.register(o.ops[0]), *flags))


def lowest_bit(o: Operands, _base: str, _locked: bool) -> None:
    """blsi, blsr, blsmsk."""
    o.execute("bit_lowest", o.source(o.ops[1]), (o.register(o.ops[0]), *FLAGS))


def carry_chain(o: Operands, base: str, _locked: bool) -> None:
    """adcx, adox: additions in two chains, through the carry and through the overflow flag."""
    flag = FLAG_CARRY if base == "adcx" else FLAG_REST
    register = o.register(o.ops[0])
    o.execute("alu_carry", unique((*o.source(o.ops[1]), register, flag)), (register, flag))


def checksum(o: Operands, _base: str, _locked: bool) -> None:
    """crc32."""
    register = o.register(o.ops[0])
    o.execute("checksum", unique((*o.source(o.ops[1]), register)), (register,))


def flagless_multiply(o: Operands, _base: str, _locked: bool) -> None:
    """mulx: rdx times the source, to the high and the low destination."""
    high, low = o.register(o.ops[0]), o.register(o.ops[1])
    sources = unique((*o.source(o.ops[2]), RDX))
    o.execute("multiply_high", sources, (SCRATCH,))
    o.execute(f"multiply_wide{o.ops[0].size * 8}", sources, (low,))
    o.uops.append(UopSpec(Kind.ELIMINATED, "copy", (SCRATCH,), (high,), False))


def _swap_class(size: int) -> str:
    """The class that reverses the bytes of a register; those of 16 bits are rotated."""
    return "rotate" if size == 2 else f"bswap{size * 8}"


def byte_swap(o: Operands, _base: str, _locked: bool) -> None:
    """bswap."""
    register = o.register(o.ops[0])
    o.execute(_swap_class(o.ops[0].size), (register,), (register,))


def move_swapped(o: Operands, _base: str, _locked: bool) -> None:
    """movbe: a load or a store with the bytes reversed."""
    name = _swap_class(o.memory.size)
    if o.ops[0].type == x86.X86_OP_MEM:
        o.execute(name, o.source(o.ops[1]), (RESULT,))
        o.store()
    else:
        register = o.register(o.ops[0])
        o.load()
        o.execute(name, (VALUE, register) if o.memory.size == 2 else (VALUE,), (register,))
