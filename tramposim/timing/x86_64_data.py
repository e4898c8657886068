"""x86_64 arithmetic, moves and exchanges as uops, a function per family."""

from __future__ import annotations

from typing import Any

from capstone import x86_const as x86

from tramposim.timing.instruction import unique, unknown
from tramposim.timing.uops import FLAG_CARRY, FLAG_REST, Kind, UopFlag, UopSpec
from tramposim.timing.x86_64_operands import (
    FLAGS,
    NUMBERS,
    RAX,
    RBX,
    RCX,
    RDX,
    RESULT,
    SCRATCH,
    SMALL_IMMEDIATE,
    VALUE,
    Operands,
    flags_of,
)

__all__ = [
    "arithmetic",
    "compare",
    "compare_exchange",
    "compare_exchange_pair",
    "conditional_move",
    "divide",
    "exchange",
    "exchange_add",
    "extend",
    "imul",
    "lea",
    "move",
    "negate",
    "set_condition",
    "sign_extend_a",
    "step",
    "wide_multiply",
]


def _same_register(o: Operands) -> bool:
    a, b = o.ops[0], o.ops[1]
    return bool(
        a.type == x86.X86_OP_REG and b.type == x86.X86_OP_REG and a.reg == b.reg and a.size >= 4
    )


def arithmetic(o: Operands, base: str, locked: bool) -> None:
    """add sub and or xor adc sbb: two operands, all flags."""
    dst, src = o.ops[0], o.ops[1]
    if base in ("xor", "sub") and _same_register(o):
        o.execute("alu", (), (o.register(dst), *FLAGS), kind=Kind.ZERO)
        return
    if base in ("add", "sub") and _folds(dst, src):
        register = o.register(dst)
        o.execute("alu", (register,), (register, *FLAGS), UopFlag.EARLY_FLAGS, Kind.FOLD)
        return
    carry = (FLAG_CARRY,) if base in ("adc", "sbb") else ()
    name = "alu_carry" if carry else "alu"
    sources = o.source(src) if src.type != x86.X86_OP_IMM else ()
    o.modify(name, (*sources, *carry), FLAGS, locked)


def _folds(dst: Any, src: Any) -> bool:
    return bool(
        dst.type == x86.X86_OP_REG
        and dst.size == 8
        and src.type == x86.X86_OP_IMM
        and src.imm in SMALL_IMMEDIATE
    )


def compare(o: Operands, base: str, _locked: bool) -> None:
    """cmp, test: flags only."""
    sources: tuple[int, ...] = ()
    for op in o.ops:
        if op.type == x86.X86_OP_MEM:
            sources += o.source(op)
    for op in o.ops:
        if op.type == x86.X86_OP_REG:
            sources += o.source(op)
    o.execute("alu_high" if o.high_byte() else "alu", unique(sources), FLAGS)


def step(o: Operands, base: str, locked: bool) -> None:
    """inc, dec: the carry flag stays."""
    dst = o.ops[0]
    if dst.type == x86.X86_OP_REG and dst.size == 8:
        register = o.register(dst)
        o.execute("alu", (register,), (register, FLAG_REST), UopFlag.EARLY_FLAGS, Kind.FOLD)
    else:
        o.modify("alu", (), (FLAG_REST,), locked)


def negate(o: Operands, base: str, locked: bool) -> None:
    """neg, not."""
    o.modify("alu", (), FLAGS if base == "neg" else (), locked)


def move(o: Operands, base: str, _locked: bool) -> None:
    """mov, movabs."""
    dst, src = o.ops[0], o.ops[1]
    segment = [
        op for op in o.ops if op.type == x86.X86_OP_REG and o.insn.reg_name(op.reg) not in NUMBERS
    ]
    if segment:
        raise unknown(o.insn)
    if dst.type == x86.X86_OP_MEM:
        o.store(o.source(src))
        return
    register = o.register(dst)
    if src.type == x86.X86_OP_MEM:
        if dst.size >= 4:
            o.load(register)
        else:
            o.load()
            o.execute("alu", (VALUE, register), (register,))
    elif src.type == x86.X86_OP_IMM:
        name = "move_wide" if base == "movabs" else "move_immediate"
        o.execute(name, (register,) if dst.size < 4 else (), (register,))
    else:
        source = o.register(src)
        if dst.size < 4:
            o.execute("alu", unique((source, register)), (register,))
        elif source == register:
            o.execute("move_same", (source,), (register,), kind=Kind.ELIMINATED)
        else:
            kind = Kind.ELIMINATED if dst.size >= 4 else Kind.EXEC
            o.execute("move", (source,), (register,), kind=kind)


def extend(o: Operands, base: str, _locked: bool) -> None:
    """movzx, movsx, movsxd."""
    dst, src = o.ops[0], o.ops[1]
    register = o.register(dst)
    if src.type == x86.X86_OP_MEM:
        if dst.size >= 4:
            o.load(register, UopFlag.NONE if base == "movzx" else UopFlag.UNRENAMED)
        else:
            o.load()
            o.execute("alu", (VALUE, register), (register,))
        return
    source = o.register(src)
    name = o.insn.reg_name(src.reg)
    eliminated = base == "movzx" and src.size == 1 and dst.size >= 4 and source != register
    if eliminated and not name.endswith("h"):
        o.execute("extend", (source,), (register,), kind=Kind.ELIMINATED)
    else:
        sources = (source,) if dst.size >= 4 else unique((source, register))
        signed = "extend_sign" if base == "movsxd" else "extend"
        o.execute("alu_high" if o.high_byte() else signed, sources, (register,))


_NO_PLAIN_BASE = (NUMBERS["rbp"], NUMBERS["r13"])
"""Base registers that are encoded with a displacement, which counts even if it is zero (Intel
optimization manual 3.5.1.2)."""


def lea(o: Operands, _base: str, _locked: bool) -> None:
    """lea: by the components of its address; 16 bits merge into their register."""
    register = o.register(o.ops[0])
    mem = o.memory.mem
    address = o.address()
    if o.ops[0].size < 4:
        name = "lea_scaled" if mem.index and mem.scale > 1 else "lea"
        o.execute(name, unique((*address, register)), (register,))
    elif not mem.base and not mem.index:
        o.execute("move_immediate", (), (register,))
    elif mem.base and o.insn.reg_name(mem.base) == "rip":
        o.execute("lea_rip", (), (register,))
    elif mem.base and not mem.index and o.ops[0].size == 8 and mem.disp in SMALL_IMMEDIATE:
        o.execute("lea", address, (register,), kind=Kind.FOLD)
    elif mem.base and mem.index and (mem.disp or address[0] in _NO_PLAIN_BASE):
        o.execute("lea_three_scaled" if mem.scale > 1 else "lea_three", address, (register,))
    elif mem.index and mem.scale > 1:
        o.execute("lea_scaled", unique(address), (register,))
    else:
        o.execute("lea", unique(address), (register,))


def imul(o: Operands, base: str, locked: bool) -> None:
    """imul with one, two or three operands."""
    if len(o.ops) == 1:
        wide_multiply(o, base, locked)
        return
    register = o.register(o.ops[0])
    sources = tuple(r for op in o.ops[1:] for r in o.source(op))
    if len(o.ops) == 2:
        sources += (register,)
    elif o.ops[0].size < 4:
        o.execute("multiply", unique(sources), (SCRATCH, *FLAGS))
        o.uops.append(UopSpec(Kind.EXEC, "alu", (SCRATCH, register), (register,)))
        return
    o.execute("multiply", unique(sources), (register, *FLAGS))


def wide_multiply(o: Operands, _base: str, _locked: bool) -> None:
    """mul, imul with one operand: rdx and rax."""
    size = o.ops[0].size
    sources = unique((*o.source(o.ops[0]), RAX))
    if size == 1:
        o.execute("multiply", sources, (RAX, *FLAGS))
    else:
        o.execute("multiply_high", sources, (SCRATCH,))
        o.execute(f"multiply_wide{size * 8}", sources, (RAX, *FLAGS))
        o.uops.append(UopSpec(Kind.ELIMINATED, "copy", (SCRATCH,), (RDX,), False))


def divide(o: Operands, base: str, _locked: bool) -> None:
    """div, idiv."""
    size = o.ops[0].size
    sources = (
        unique((*o.source(o.ops[0]), RAX, RDX)) if size > 1 else unique((*o.source(o.ops[0]), RAX))
    )
    kind = "divide" if base == "div" else "divide_signed"
    o.execute(f"{kind}{size * 8}", sources, (RAX, RDX, *FLAGS) if size > 1 else (RAX, *FLAGS))


def set_condition(o: Operands, base: str, _locked: bool) -> None:
    """setcc to a register or memory."""
    condition = base[3:]
    sources = flags_of(condition)
    name = "setcc_both" if len(sources) > 1 else "setcc"
    if o.memory:
        o.execute(name, sources, (RESULT,))
        o.store()
    else:
        register = o.register(o.ops[0])
        o.execute(name, (*sources, register), (register,))


def conditional_move(o: Operands, base: str, _locked: bool) -> None:
    """cmovcc."""
    sources = flags_of(base[4:])
    name = "cmov_both" if len(sources) > 1 else "cmov"
    register = o.register(o.ops[0])
    if o.memory:
        o.load(flags=UopFlag.UNRENAMED)
    o.execute(name, unique((*o.source(o.ops[1]), register, *sources)), (register,))


def sign_extend_a(o: Operands, base: str, _locked: bool) -> None:
    """cdq, cqo, cwd, cdqe, cwde, cbw."""
    if base == "cwd":
        o.execute("extend", (RAX, RDX), (RDX,))
    elif base in ("cdq", "cqo"):
        o.execute("shift", (RAX,), (RDX,))
    else:
        o.execute("extend", (RAX,), (RAX,))


def exchange(o: Operands, _base: str, _locked: bool) -> None:
    """xchg; with memory it locks."""
    if o.memory:
        register = next(op for op in o.ops if op.type == x86.X86_OP_REG)
        number = o.register(register)
        o.load(VALUE, UopFlag.LOCKED, "lock_xchg")
        o.store((number,))
        o.uops.append(UopSpec(Kind.EXEC, "alu", (VALUE,), (number,)))
        return
    a, b = o.register(o.ops[0]), o.register(o.ops[1])
    whole = o.ops[0].size >= 4
    if a == b:
        o.execute("nop", (), (), kind=Kind.NOP)
        return
    for source, result in ((a, SCRATCH), (b, a), (SCRATCH, b)):
        o.execute("xchg", (source,), (result,), kind=Kind.ELIMINATED if whole else Kind.EXEC)


def exchange_add(o: Operands, _base: str, locked: bool) -> None:
    """xadd."""
    register = o.register(o.ops[1])
    if o.memory:
        o.load(flags=UopFlag.LOCKED if locked else UopFlag.NONE, name="lock" if locked else "load")
        o.execute("alu", (VALUE, register), (RESULT, *FLAGS))
        o.uops.append(UopSpec(Kind.EXEC, "alu", (VALUE,), (register,)))
        o.store()
    else:
        other = o.register(o.ops[0])
        o.execute("alu", (other, register), (SCRATCH, *FLAGS))
        o.execute("xchg", (other,), (register,))
        o.execute("xchg", (SCRATCH,), (other,))


def compare_exchange(o: Operands, base: str, locked: bool) -> None:
    """cmpxchg."""
    if base != "cmpxchg" or not o.memory:
        if base == "cmpxchg":
            dst, src = o.register(o.ops[0]), o.register(o.ops[1])
            o.execute("alu", (RAX, dst), (SCRATCH, *FLAGS))
            o.execute("cmov", unique((dst, src, FLAG_REST)), (dst,))
            o.execute("cmov", unique((dst, RAX, FLAG_REST)), (RAX,))
            return
        raise unknown(o.insn)
    src = o.register(o.ops[1])
    lock_name = "lock_cmpxchg" if locked else "load"
    o.load(flags=UopFlag.LOCKED if locked else UopFlag.UNRENAMED, name=lock_name)
    if locked:
        o.execute("alu", (VALUE,), (RAX, *FLAGS))
        o.uops.append(UopSpec(Kind.EXEC, "cmov", (VALUE, src), (RESULT,)))
    else:
        o.execute("alu", (VALUE, RAX), FLAGS)
        o.uops.append(UopSpec(Kind.EXEC, "cmov", (VALUE, src, FLAG_REST), (RESULT,)))
        o.uops.append(UopSpec(Kind.EXEC, "cmov", (VALUE, RAX, FLAG_REST), (RAX,)))
    o.store()


def compare_exchange_pair(o: Operands, _base: str, locked: bool) -> None:
    """cmpxchg16b: rdx:rax with memory, rcx:rbx for it."""
    name, flags = ("lock_cmpxchg_pair", UopFlag.LOCKED) if locked else ("load", UopFlag.UNRENAMED)
    o.load(VALUE, flags, name)
    o.load(SCRATCH, UopFlag.UNRENAMED)
    results = (RAX, RDX, FLAG_REST, RESULT)
    operation = "cmov" if locked else "cmpxchg_pair"
    o.uops.append(UopSpec(Kind.EXEC, operation, (VALUE, SCRATCH, RAX, RDX), results))
    o.store((RESULT, RBX, RCX))
