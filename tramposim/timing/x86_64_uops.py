"""x86_64 instructions as uops: operand roles, flags, fusion, idioms.

Sources: Intel SDM volume 2 (operands and flags), Intel optimization manual 2.4-2.6 and 3.4.2
(fusion, idioms), Agner Fog's microarchitecture guide (partial registers, stack engine).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import capstone
from capstone import x86_const as x86

from tramposim.errors import UnsupportedError
from tramposim.timing.uops import (
    FLAG_CARRY,
    FLAG_REST,
    TEMPORARY,
    Branch,
    InsnSpec,
    Kind,
    UopFlag,
    UopSpec,
)

__all__ = ["decode"]

_FLAGS = (FLAG_CARRY, FLAG_REST)
_RAX, _RCX, _RDX, _RSP, _RBP, _RSI, _RDI = 0, 1, 2, 4, 5, 6, 7
_VALUE = TEMPORARY  # loaded value
_RESULT = TEMPORARY + 1  # value to be stored
_SCRATCH = TEMPORARY + 2

_FAMILIES = (
    ("rax", "eax", "ax", "al", "ah"),
    ("rcx", "ecx", "cx", "cl", "ch"),
    ("rdx", "edx", "dx", "dl", "dh"),
    ("rbx", "ebx", "bx", "bl", "bh"),
    ("rsp", "esp", "sp", "spl"),
    ("rbp", "ebp", "bp", "bpl"),
    ("rsi", "esi", "si", "sil"),
    ("rdi", "edi", "di", "dil"),
    *((f"r{n}", f"r{n}d", f"r{n}w", f"r{n}b") for n in range(8, 16)),
)
_NUMBERS = {name: number for number, names in enumerate(_FAMILIES) for name in names}

_CARRY_CONDITIONS = ("b", "ae")
_BOTH_CONDITIONS = ("be", "a")
_CONDITIONS = (
    "o",
    "no",
    "b",
    "ae",
    "e",
    "ne",
    "be",
    "a",
    "s",
    "ns",
    "p",
    "np",
    "l",
    "ge",
    "le",
    "g",
)
_ALL_JUMPS = frozenset(f"j{c}" for c in _CONDITIONS)
_ARITHMETIC_JUMPS = frozenset(
    f"j{c}" for c in ("b", "ae", "e", "ne", "be", "a", "l", "ge", "le", "g")
)
_INCREMENT_JUMPS = frozenset(f"j{c}" for c in ("e", "ne", "l", "ge", "le", "g"))

_STACK_LOAD = UopFlag.UNRENAMED | UopFlag.MOVE_STACK
_SMALL_IMMEDIATE = range(-1024, 1024)


def _flags_of(condition: str) -> tuple[int, ...]:
    """Flag registers that a condition reads."""
    if condition in _CARRY_CONDITIONS:
        return (FLAG_CARRY,)
    return _FLAGS if condition in _BOTH_CONDITIONS else (FLAG_REST,)


class _Operands:
    """The operands of one instruction and the uops collected for it."""

    def __init__(self, insn: Any) -> None:
        self.insn = insn
        self.ops = insn.operands
        self.uops: list[UopSpec] = []
        self.memory: Any = next((op for op in self.ops if op.type == x86.X86_OP_MEM), None)
        self.indexed = bool(self.memory and self.memory.mem.index)

    def register(self, op: Any) -> int:
        """Number of a register operand; `UnsupportedError` unless it is a general one."""
        number = _NUMBERS.get(self.insn.reg_name(op.reg))
        if number is None:
            raise _unknown(self.insn)
        return number

    def address(self) -> tuple[int, ...]:
        """Registers of the memory operand's address (rip and segment bases are constants)."""
        mem = self.memory.mem
        names = [self.insn.reg_name(r) for r in (mem.base, mem.index) if r]
        return tuple(_NUMBERS[name] for name in names if name in _NUMBERS)

    def load(self, result: int = _VALUE, flags: UopFlag = UopFlag.NONE, name: str = "load") -> None:
        """A load from the memory operand (narrow ones are never renamed)."""
        if self.memory.size < 4:
            flags |= UopFlag.UNRENAMED
        self.uops.append(
            UopSpec(Kind.LOAD, name, self.address(), (result,), True, flags | self.stack_use())
        )

    def store(self, source: tuple[int, ...] = (_RESULT,)) -> None:
        """A store to the memory operand: address and data in one slot."""
        use = self.stack_use() if not self.uops else UopFlag.NONE
        self.uops.append(
            UopSpec(Kind.STORE_ADDRESS, "store_address", self.address(), (), True, use)
        )
        self.uops.append(UopSpec(Kind.STORE_DATA, "store_data", source, (), False))

    def execute(
        self,
        name: str,
        sources: tuple[int, ...],
        results: tuple[int, ...],
        flags: UopFlag = UopFlag.NONE,
        kind: Kind = Kind.EXEC,
    ) -> None:
        """An operation; it shares the slot of a load that feeds it."""
        fused = bool(self.uops) and self.uops[-1].kind == Kind.LOAD and kind == Kind.EXEC
        self.uops.append(UopSpec(kind, name, sources, results, not fused, flags | self.stack_use()))

    def stack_use(self) -> UopFlag:
        """READ_STACK if the instruction names rsp (the first uop carries it)."""
        if self.uops:
            return UopFlag.NONE
        named = [op.reg for op in self.ops if op.type == x86.X86_OP_REG]
        if self.memory:
            named += [self.memory.mem.base, self.memory.mem.index]
        if any(r and _NUMBERS.get(self.insn.reg_name(r)) == _RSP for r in named):
            return UopFlag.READ_STACK
        return UopFlag.NONE

    def high_byte(self) -> bool:
        """Whether an operand is bits 8 to 15 of a register."""
        names = [self.insn.reg_name(op.reg) for op in self.ops if op.type == x86.X86_OP_REG]
        return any(name in ("ah", "bh", "ch", "dh") for name in names)

    def source(self, op: Any) -> tuple[int, ...]:
        """Registers that reading `op` depends on (loads it first if it is memory)."""
        if op.type == x86.X86_OP_IMM:
            return ()
        if op.type == x86.X86_OP_MEM:
            if not any(u.kind == Kind.LOAD for u in self.uops):
                self.load()
            return (_VALUE,)
        return (self.register(op),)


def _unknown(insn: Any) -> UnsupportedError:
    return UnsupportedError(
        f"no timing for the instruction '{insn.mnemonic} {insn.op_str}' "
        f"({bytes(insn.bytes).hex()}) at {insn.address:#x}"
    )


_LOCKED_BASES = frozenset(
    [
        "add",
        "sub",
        "and",
        "or",
        "xor",
        "inc",
        "dec",
        "neg",
        "not",
        "xadd",
        "cmpxchg",
        "bts",
        "btr",
        "btc",
        "xchg",
    ]
)


def _modify(
    o: _Operands, name: str, extra: tuple[int, ...], flags: tuple[int, ...], locked: bool
) -> None:
    """dst = dst op extra, where dst is operand 0 (register or memory)."""
    dst = o.ops[0]
    if dst.type == x86.X86_OP_MEM:
        if not any(u.kind == Kind.LOAD for u in o.uops):
            use = UopFlag.UNRENAMED if extra else UopFlag.NONE
            o.load(flags=UopFlag.LOCKED if locked else use, name="lock" if locked else "load")
        o.execute(name, (_VALUE, *extra), (_RESULT, *flags))
        o.store()
    else:
        register = o.register(dst)
        o.execute(name, _unique((register, *extra)), (register, *flags))


def _unique(registers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(registers))


def _same_register(o: _Operands) -> bool:
    a, b = o.ops[0], o.ops[1]
    return bool(
        a.type == x86.X86_OP_REG and b.type == x86.X86_OP_REG and a.reg == b.reg and a.size >= 4
    )


def _arithmetic(o: _Operands, base: str, locked: bool) -> None:
    """add sub and or xor adc sbb: two operands, all flags."""
    dst, src = o.ops[0], o.ops[1]
    if base in ("xor", "sub") and _same_register(o):
        o.execute("alu", (), (o.register(dst), *_FLAGS), kind=Kind.ZERO)
        return
    if base in ("add", "sub") and _folds(dst, src):
        register = o.register(dst)
        o.execute("alu", (register,), (register, *_FLAGS), UopFlag.EARLY_FLAGS, Kind.FOLD)
        return
    carry = (FLAG_CARRY,) if base in ("adc", "sbb") else ()
    name = "alu_carry" if carry else "alu"
    sources = o.source(src) if src.type != x86.X86_OP_IMM else ()
    _modify(o, name, (*sources, *carry), _FLAGS, locked)


def _folds(dst: Any, src: Any) -> bool:
    return bool(
        dst.type == x86.X86_OP_REG
        and dst.size == 8
        and src.type == x86.X86_OP_IMM
        and src.imm in _SMALL_IMMEDIATE
    )


def _compare(o: _Operands, base: str, _locked: bool) -> None:
    sources: tuple[int, ...] = ()
    for op in o.ops:
        if op.type == x86.X86_OP_MEM:
            sources += o.source(op)
    for op in o.ops:
        if op.type == x86.X86_OP_REG:
            sources += o.source(op)
    o.execute("alu_high" if o.high_byte() else "alu", _unique(sources), _FLAGS)


def _step(o: _Operands, base: str, locked: bool) -> None:
    """inc, dec: the carry flag stays."""
    dst = o.ops[0]
    if dst.type == x86.X86_OP_REG and dst.size == 8:
        register = o.register(dst)
        o.execute("alu", (register,), (register, FLAG_REST), UopFlag.EARLY_FLAGS, Kind.FOLD)
    else:
        _modify(o, "alu", (), (FLAG_REST,), locked)


def _negate(o: _Operands, base: str, locked: bool) -> None:
    _modify(o, "alu", (), _FLAGS if base == "neg" else (), locked)


def _move(o: _Operands, base: str, _locked: bool) -> None:
    dst, src = o.ops[0], o.ops[1]
    segment = [
        op for op in o.ops if op.type == x86.X86_OP_REG and o.insn.reg_name(op.reg) not in _NUMBERS
    ]
    if segment:
        raise _unknown(o.insn)
    if dst.type == x86.X86_OP_MEM:
        o.store(o.source(src))
        return
    register = o.register(dst)
    if src.type == x86.X86_OP_MEM:
        if dst.size >= 4:
            o.load(register)
        else:
            o.load()
            o.execute("alu", (_VALUE, register), (register,))
    elif src.type == x86.X86_OP_IMM:
        o.execute("move_immediate", (register,) if dst.size < 4 else (), (register,))
    else:
        source = o.register(src)
        if dst.size < 4:
            o.execute("alu", _unique((source, register)), (register,))
        elif source == register:
            o.execute("move", (source,), (register,))
        else:
            kind = Kind.ELIMINATED if dst.size >= 4 else Kind.EXEC
            o.execute("move", (source,), (register,), kind=kind)


def _extend(o: _Operands, base: str, _locked: bool) -> None:
    """movzx, movsx, movsxd."""
    dst, src = o.ops[0], o.ops[1]
    register = o.register(dst)
    if src.type == x86.X86_OP_MEM:
        if dst.size >= 4:
            o.load(register, UopFlag.UNRENAMED)
        else:
            o.load(flags=UopFlag.UNRENAMED)
            o.execute("alu", (_VALUE, register), (register,))
        return
    source = o.register(src)
    name = o.insn.reg_name(src.reg)
    eliminated = base == "movzx" and src.size == 1 and dst.size >= 4 and source != register
    if eliminated and not name.endswith("h"):
        o.execute("extend", (source,), (register,), kind=Kind.ELIMINATED)
    else:
        sources = (source,) if dst.size >= 4 else _unique((source, register))
        signed = "extend_sign" if base == "movsxd" else "extend"
        o.execute("alu_high" if o.high_byte() else signed, sources, (register,))


def _lea(o: _Operands, _base: str, _locked: bool) -> None:
    register = o.register(o.ops[0])
    mem = o.memory.mem
    address = o.address()
    if not mem.base and not mem.index:
        o.execute("move_immediate", (), (register,))
    elif mem.base and o.insn.reg_name(mem.base) == "rip":
        o.execute("lea_rip", (), (register,))
    elif mem.base and not mem.index and o.ops[0].size == 8 and mem.disp in _SMALL_IMMEDIATE:
        o.execute("lea", address, (register,), kind=Kind.FOLD)
    elif mem.base and mem.index and mem.disp:
        o.execute("lea_three_scaled" if mem.scale > 1 else "lea_three", address, (register,))
    elif mem.index and mem.scale > 1:
        o.execute("lea_scaled", _unique(address), (register,))
    else:
        o.execute("lea", _unique(address), (register,))


def _shift(o: _Operands, base: str, locked: bool) -> None:
    """shl shr sar rol ror rcl rcr by an immediate, one or cl."""
    rotate = base in ("rol", "ror", "rcl", "rcr")
    count = o.ops[1] if len(o.ops) > 1 else None
    through = (FLAG_CARRY,) if base in ("rcl", "rcr") else ()
    if through:
        name = "rotate_carry"
    elif count is not None and count.type == x86.X86_OP_REG:
        name = "rotate_cl" if rotate else "shift_cl"
    else:
        name = "rotate" if rotate else "shift"
    if count is not None and count.type == x86.X86_OP_REG:
        # A zero count leaves the flags alone: merging them is work of its own.
        _modify(o, name, (_RCX, *through), (_SCRATCH,), locked)
        o.uops.append(UopSpec(Kind.EXEC, "flags_merge", (_SCRATCH, *_FLAGS), _FLAGS))
        return
    _modify(o, name, through, (FLAG_CARRY,) if rotate else _FLAGS, locked)


def _double_shift(o: _Operands, base: str, locked: bool) -> None:
    by_register = o.ops[2].type == x86.X86_OP_REG
    extra = (o.register(o.ops[1]), *((_RCX,) if by_register else ()))
    _modify(o, "double_shift_cl" if by_register else "double_shift", extra, _FLAGS, locked)


def _three_operand_shift(o: _Operands, base: str, _locked: bool) -> None:
    """shlx shrx sarx rorx andn bextr: destination, sources, flags untouched but for andn."""
    sources = tuple(r for op in o.ops[1:] for r in o.source(op))
    name = {"rorx": "rotate_x", "andn": "andn"}.get(base, "shift_x")
    flags = _FLAGS if base == "andn" else ()
    o.execute(name, _unique(sources), (o.register(o.ops[0]), *flags))


def _imul(o: _Operands, base: str, locked: bool) -> None:
    if len(o.ops) == 1:
        _wide_multiply(o, base, locked)
        return
    register = o.register(o.ops[0])
    sources = tuple(r for op in o.ops[1:] for r in o.source(op))
    if len(o.ops) == 2:
        sources += (register,)
    o.execute("multiply", _unique(sources), (register, *_FLAGS))


def _wide_multiply(o: _Operands, _base: str, _locked: bool) -> None:
    size = o.ops[0].size
    sources = _unique((*o.source(o.ops[0]), _RAX))
    if size == 1:
        o.execute("multiply", sources, (_RAX, *_FLAGS))
    else:
        o.execute("multiply_high", sources, (_SCRATCH,))
        o.execute(f"multiply_wide{size * 8}", sources, (_RAX, *_FLAGS))
        o.uops.append(UopSpec(Kind.ELIMINATED, "copy", (_SCRATCH,), (_RDX,), False))


def _divide(o: _Operands, base: str, _locked: bool) -> None:
    size = o.ops[0].size
    sources = (
        _unique((*o.source(o.ops[0]), _RAX, _RDX))
        if size > 1
        else _unique((*o.source(o.ops[0]), _RAX))
    )
    kind = "divide" if base == "div" else "divide_signed"
    o.execute(f"{kind}{size * 8}", sources, (_RAX, _RDX, *_FLAGS) if size > 1 else (_RAX, *_FLAGS))


def _set_condition(o: _Operands, base: str, _locked: bool) -> None:
    condition = base[3:]
    sources = _flags_of(condition)
    name = "setcc_both" if len(sources) > 1 else "setcc"
    if o.memory:
        o.execute(name, sources, (_RESULT,))
        o.store()
    else:
        register = o.register(o.ops[0])
        o.execute(name, (*sources, register), (register,))


def _conditional_move(o: _Operands, base: str, _locked: bool) -> None:
    sources = _flags_of(base[4:])
    name = "cmov_both" if len(sources) > 1 else "cmov"
    register = o.register(o.ops[0])
    o.execute(name, _unique((*o.source(o.ops[1]), register, *sources)), (register,))


def _bit_scan(o: _Operands, base: str, _locked: bool) -> None:
    register = o.register(o.ops[0])
    sources = o.source(o.ops[1])
    if base in ("bsf", "bsr"):
        sources += (register,)
    o.execute("bit_count", _unique(sources), (register, *_FLAGS))


def _bit_test(o: _Operands, base: str, locked: bool) -> None:
    index = o.source(o.ops[1]) if o.ops[1].type == x86.X86_OP_REG else ()
    if base == "bt":
        o.execute("shift", _unique((*o.source(o.ops[0]), *index)), (FLAG_CARRY,))
    else:
        _modify(o, "shift", index, (FLAG_CARRY,), locked)


def _byte_swap(o: _Operands, _base: str, _locked: bool) -> None:
    register = o.register(o.ops[0])
    o.execute("bswap64" if o.ops[0].size == 8 else "bswap32", (register,), (register,))


def _sign_extend_a(o: _Operands, base: str, _locked: bool) -> None:
    if base in ("cdq", "cqo", "cwd"):
        o.execute("shift" if base != "cwd" else "extend", (_RAX,), (_RDX,))
    else:
        o.execute("extend", (_RAX,), (_RAX,))


def _exchange(o: _Operands, _base: str, _locked: bool) -> None:
    if o.memory:
        register = next(op for op in o.ops if op.type == x86.X86_OP_REG)
        number = o.register(register)
        o.load(_VALUE, UopFlag.LOCKED, "lock_xchg")
        o.store((number,))
        o.uops.append(UopSpec(Kind.EXEC, "alu", (_VALUE,), (number,)))
        return
    a, b = o.register(o.ops[0]), o.register(o.ops[1])
    if a == b:
        o.execute("nop", (), (), kind=Kind.NOP)
        return
    o.execute("xchg", (a,), (_SCRATCH,))
    o.execute("xchg", (b,), (a,))
    o.execute("xchg", (_SCRATCH,), (b,))


def _exchange_add(o: _Operands, _base: str, locked: bool) -> None:
    register = o.register(o.ops[1])
    if o.memory:
        o.load(flags=UopFlag.LOCKED if locked else UopFlag.NONE, name="lock" if locked else "load")
        o.execute("alu", (_VALUE, register), (_RESULT, *_FLAGS))
        o.uops.append(UopSpec(Kind.EXEC, "alu", (_VALUE,), (register,)))
        o.store()
    else:
        other = o.register(o.ops[0])
        o.execute("alu", (other, register), (_SCRATCH, *_FLAGS))
        o.execute("xchg", (other,), (register,))
        o.execute("xchg", (_SCRATCH,), (other,))


def _compare_exchange(o: _Operands, base: str, locked: bool) -> None:
    if base != "cmpxchg" or not o.memory:
        if base == "cmpxchg":
            dst, src = o.register(o.ops[0]), o.register(o.ops[1])
            o.execute("alu", (_RAX, dst), (_SCRATCH, *_FLAGS))
            o.execute("cmov", _unique((dst, src, FLAG_REST)), (dst,))
            o.execute("cmov", _unique((dst, _RAX, FLAG_REST)), (_RAX,))
            return
        raise _unknown(o.insn)
    src = o.register(o.ops[1])
    lock_name = "lock_cmpxchg" if locked else "load"
    o.load(flags=UopFlag.LOCKED if locked else UopFlag.UNRENAMED, name=lock_name)
    if locked:
        o.execute("alu", (_VALUE,), (_RAX, *_FLAGS))
        o.uops.append(UopSpec(Kind.EXEC, "cmov", (_VALUE, src), (_RESULT,)))
    else:
        o.execute("alu", (_VALUE, _RAX), _FLAGS)
        o.uops.append(UopSpec(Kind.EXEC, "cmov", (_VALUE, src, FLAG_REST), (_RESULT,)))
        o.uops.append(UopSpec(Kind.EXEC, "cmov", (_VALUE, _RAX, FLAG_REST), (_RAX,)))
    o.store()


def _push(o: _Operands, base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (_RSP,), (_RSP,), False, UopFlag.MOVE_STACK))
    if base == "pushfq":
        o.uops.append(UopSpec(Kind.EXEC, "flags_read", _FLAGS, (_RESULT,)))
        source: tuple[int, ...] = (_RESULT,)
    elif o.ops[0].type == x86.X86_OP_MEM:
        o.uops.append(UopSpec(Kind.LOAD, "load", o.address(), (_VALUE,)))
        source = (_VALUE,)
    else:
        source = o.source(o.ops[0])
    o.uops.append(UopSpec(Kind.STORE_ADDRESS, "store_address", (_RSP,)))
    o.uops.append(UopSpec(Kind.STORE_DATA, "store_data", source, (), False))


def _pop(o: _Operands, base: str, _locked: bool) -> None:
    if base == "popfq":
        raise _unknown(o.insn)
    if o.ops[0].type == x86.X86_OP_MEM:
        raise _unknown(o.insn)
    register = o.register(o.ops[0])
    o.uops.append(UopSpec(Kind.LOAD, "load", (_RSP,), (register,), True, UopFlag.MOVE_STACK))
    if register != _RSP:
        o.uops.append(UopSpec(Kind.ELIMINATED, "move", (_RSP,), (_RSP,), False, UopFlag.MOVE_STACK))


def _leave(o: _Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.EXEC, "alu", (_RBP,), (_RSP,)))
    o.uops.append(UopSpec(Kind.LOAD, "load", (_RSP,), (_RBP,), True, _STACK_LOAD))
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (_RSP,), (_RSP,), False, UopFlag.MOVE_STACK))


def _jump_conditional(o: _Operands, base: str, _locked: bool) -> None:
    o.execute("branch", _flags_of(base[1:]), (), UopFlag.BRANCH)


def _jump(o: _Operands, _base: str, _locked: bool) -> None:
    op = o.ops[0]
    if op.type == x86.X86_OP_IMM:
        o.execute("jump", (), (), UopFlag.BRANCH)
    else:
        o.execute("jump_indirect", o.source(op), (), UopFlag.BRANCH)


def _call(o: _Operands, _base: str, _locked: bool) -> None:
    op = o.ops[0]
    sources = () if op.type == x86.X86_OP_IMM else o.source(op)
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (_RSP,), (_RSP,), False, UopFlag.MOVE_STACK))
    o.uops.append(UopSpec(Kind.STORE_ADDRESS, "store_address", (_RSP,)))
    o.uops.append(UopSpec(Kind.STORE_DATA, "store_data", (), (), False))
    name = "jump_indirect" if sources else "jump"
    o.uops.append(UopSpec(Kind.EXEC, name, sources, (), True, UopFlag.BRANCH))


def _return(o: _Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.LOAD, "load", (_RSP,), (_VALUE,), True, _STACK_LOAD))
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (_RSP,), (_RSP,), False, UopFlag.MOVE_STACK))
    o.uops.append(UopSpec(Kind.EXEC, "jump_indirect", (_VALUE,), (), False, UopFlag.BRANCH))


def _nop(o: _Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.NOP, "nop"))


def _special(
    name: str, results: tuple[int, ...], flags: UopFlag, sources: tuple[int, ...] = ()
) -> Any:
    def handler(o: _Operands, _base: str, _locked: bool) -> None:
        o.uops.append(UopSpec(Kind.EXEC, name, sources, results, True, flags))

    return handler


def _string(o: _Operands, base: str, _locked: bool) -> None:
    """One iteration of movs or stos; rep's start-up is paid per execution of the prefix."""
    if base.startswith("movs"):
        o.uops.append(UopSpec(Kind.LOAD, "load", (_RSI,), (_RESULT,)))
        o.uops.append(UopSpec(Kind.EXEC, "alu", (_RSI,), (_RSI,)))
    elif not base.startswith("stos"):
        raise _unknown(o.insn)
    source = (_RESULT,) if base.startswith("movs") else (_RAX,)
    o.uops.append(UopSpec(Kind.STORE_ADDRESS, "store_address", (_RDI,)))
    o.uops.append(UopSpec(Kind.STORE_DATA, "store_data", source, (), False))
    o.uops.append(UopSpec(Kind.EXEC, "alu", (_RDI,), (_RDI,)))
    if o.insn.prefix[0]:
        o.uops.append(UopSpec(Kind.EXEC, "alu", (_RCX,), (_RCX,)))


def _processor_id(o: _Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.EXEC, "rdpid", (), (o.register(o.ops[0]),)))


_DRAIN_BLOCK = UopFlag.DRAIN | UopFlag.BLOCK
_HANDLERS: dict[str, Callable[[_Operands, str, bool], None]] = {
    **dict.fromkeys(("add", "sub", "and", "or", "xor", "adc", "sbb"), _arithmetic),
    **dict.fromkeys(("cmp", "test"), _compare),
    **dict.fromkeys(("inc", "dec"), _step),
    **dict.fromkeys(("neg", "not"), _negate),
    **dict.fromkeys(("mov", "movabs"), _move),
    **dict.fromkeys(("movzx", "movsx", "movsxd"), _extend),
    **dict.fromkeys(("shl", "shr", "sar", "rol", "ror", "rcl", "rcr", "sal"), _shift),
    **dict.fromkeys(("shld", "shrd"), _double_shift),
    **dict.fromkeys(("shlx", "shrx", "sarx", "rorx", "andn"), _three_operand_shift),
    **dict.fromkeys(("div", "idiv"), _divide),
    **dict.fromkeys((f"set{c}" for c in _CONDITIONS), _set_condition),
    **dict.fromkeys((f"cmov{c}" for c in _CONDITIONS), _conditional_move),
    **dict.fromkeys((f"j{c}" for c in _CONDITIONS), _jump_conditional),
    **dict.fromkeys(("bsf", "bsr", "tzcnt", "lzcnt", "popcnt"), _bit_scan),
    **dict.fromkeys(("bt", "bts", "btr", "btc"), _bit_test),
    **dict.fromkeys(("cdq", "cqo", "cwd", "cdqe", "cwde", "cbw"), _sign_extend_a),
    **dict.fromkeys(("push", "pushfq"), _push),
    **dict.fromkeys(("pop", "popfq"), _pop),
    **dict.fromkeys(("nop", "endbr64", "prefetchw", "prefetcht0"), _nop),
    **dict.fromkeys(("movsb", "movsw", "movsd", "movsq", "stosb", "stosd", "stosq"), _string),
    "lea": _lea,
    "imul": _imul,
    "mul": _wide_multiply,
    "bswap": _byte_swap,
    "xchg": _exchange,
    "xadd": _exchange_add,
    "cmpxchg": _compare_exchange,
    "leave": _leave,
    "rdpid": _processor_id,
    "jmp": _jump,
    "call": _call,
    "ret": _return,
    "lfence": _special("lfence", (), _DRAIN_BLOCK),
    "mfence": _special("mfence", (), _DRAIN_BLOCK),
    "sfence": _special("sfence", (), UopFlag.NONE),
    "pause": _special("pause", (), UopFlag.BLOCK),
    "rdtsc": _special("rdtsc", (_RAX, _RDX), UopFlag.NONE),
    "rdtscp": _special("rdtscp", (_RAX, _RDX, _RCX), _DRAIN_BLOCK),
    "cli": _special("interrupt_flag", (), UopFlag.NONE),
    "sti": _special("interrupt_flag", (), UopFlag.NONE),
    "stac": _special("interrupt_flag", (), UopFlag.NONE),
    "clac": _special("interrupt_flag", (), UopFlag.NONE),
    "cmc": _special("alu", (FLAG_CARRY,), UopFlag.NONE, (FLAG_CARRY,)),
    "stc": _special("alu", (FLAG_CARRY,), UopFlag.NONE),
    "clc": _special("alu", (FLAG_CARRY,), UopFlag.NONE),
}

_BRANCHES = {"ret": Branch.RETURN, **dict.fromkeys(_ALL_JUMPS, Branch.CONDITIONAL)}


def _branch(base: str, o: _Operands) -> Branch:
    direct = bool(o.ops) and o.ops[0].type == x86.X86_OP_IMM
    if base == "jmp":
        return Branch.JUMP if direct else Branch.INDIRECT_JUMP
    if base == "call":
        return Branch.CALL if direct else Branch.INDIRECT_CALL
    return _BRANCHES.get(base, Branch.NONE)


def _fuses(base: str, o: _Operands) -> frozenset[str]:
    """Conditional jumps into which `base` macro-fuses (optimization manual, table 2-14)."""
    if base not in ("cmp", "test", "add", "sub", "and", "inc", "dec") or not o.ops:
        return frozenset()
    kinds = [op.type for op in o.ops]
    if x86.X86_OP_MEM in kinds:
        if base in ("inc", "dec") or (kinds[0] == x86.X86_OP_MEM and base not in ("cmp", "test")):
            return frozenset()
        mem = o.memory.mem
        if x86.X86_OP_IMM in kinds and mem.base and o.insn.reg_name(mem.base) == "rip":
            return frozenset()
    if base in ("test", "and"):
        return _ALL_JUMPS
    return _INCREMENT_JUMPS if base in ("inc", "dec") else _ARITHMETIC_JUMPS


def _length_changing(o: _Operands, code: bytes) -> bool:
    """An operand-size prefix before an instruction with a 16-bit immediate."""
    if not any(op.type == x86.X86_OP_IMM for op in o.ops):
        return False
    encoding = o.insn.encoding
    return bool(encoding.imm_offset and encoding.imm_size == 2 and 0x66 in o.insn.prefix)


@cache
def _engine() -> Any:
    engine: Any = capstone.Cs(  # type: ignore[no-untyped-call]
        capstone.CS_ARCH_X86, capstone.CS_MODE_64
    )
    engine.detail = True
    return engine


def decode(code: bytes, address: int) -> InsnSpec:
    """The instruction at the start of `code`, which lies at `address`.

    Raises `UnsupportedError` for an instruction that cannot be decoded or has no timing.
    """
    insn = next(_engine().disasm(code[:15], address, 1), None)
    if insn is None:
        raise UnsupportedError(f"not an instruction: {code[:8].hex()} at {address:#x}")
    words = insn.mnemonic.split()
    locked = "lock" in words
    base = words[-1]
    o = _Operands(insn)
    if base.startswith("nop") or (base == "xchg" and bytes(insn.bytes) in (b"\x66\x90",)):
        base = "nop"
    handler = _HANDLERS.get(base)
    if handler is None or (locked and base not in _LOCKED_BASES):
        raise _unknown(insn)
    handler(o, base, locked)
    return InsnSpec(
        text=f"{insn.mnemonic} {insn.op_str}".rstrip(),
        size=insn.size,
        uops=tuple(o.uops),
        branch=_branch(base, o),
        fuses=_fuses(base, o) if not locked else frozenset(),
        mnemonic=base,
        indexed=o.indexed,
        length_changing=_length_changing(o, code),
        repeated="rep" in words[0] and len(words) > 1,
    )
