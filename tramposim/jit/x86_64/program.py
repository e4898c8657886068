"""x86_64: what each eBPF instruction becomes, prologue and epilogue (arch/x86/net).

Registers: r0-r5 are rax, rdi, rsi, rdx, rcx, r8; r6-r9 are rbx, r13, r14, r15; the frame
pointer is rbp, or r9 when the program has a private stack. The arena's base is in r12.
Shifts by a register use BMI2, which every CPU that runs these kernels' tests has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tramposim._native.translator import (
    IMM,
    IMM64,
    KEY_FIRST,
    KEY_IMM,
    KEY_OFFSET,
    KEY_SHAPE,
    OFFSET,
    ONCE,
    TARGET,
    TARGET_IMM,
    TWO_RECORDS,
    Translator,
    local,
    param,
)
from tramposim._native.x86_64_asm import ISA
from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Pseudo
from tramposim.bpf.loaded import LoadedFunction
from tramposim.errors import UnsupportedError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.rules import Insns, Rule
from tramposim.jit.trampoline import THUNKS
from tramposim.jit.versions import JitRules
from tramposim.jit.x86_64.memory import (
    LOADS,
    SIGNED_LOADS,
    STORES,
    arena_access,
    arena_atomic,
    atomic,
    probed_load,
)
from tramposim.jit.x86_64.registers import (
    AUX,
    CALLEE_SAVED,
    CONDITIONS,
    R9,
    R12,
    RAX,
    RBP,
    RCX,
    RDX,
    RSI,
    RSP,
    register_map,
)
from tramposim.spec import Returns

__all__ = ["plan", "translator"]

_PARAMETERS = (
    "__bpf_call_base",
    "this_cpu_off",
    "the tail call counter's place",
    "the stack depth",
    "the return thunk",
    "__x86_indirect_thunk_rcx",
    "__x86_call_depth",
    "the arena's user address",
    "the private stack",
    "the arena's kernel address",
)
(
    _CALL_BASE,
    _CPU_OFFSET,
    _COUNTER,
    _STACK,
    _RETURN,
    _INDIRECT,
    _CALL_DEPTH,
    _ARENA_USER,
    _PRIVATE,
    _ARENA,
) = map(param, range(len(_PARAMETERS)))

_MAX_TAIL_CALLS = 33
_TAIL_CALL_ENTRY = 12
"""Where tail calls enter a program: behind its first push; an endbr64 before it adds 4."""
_PRIVATE_STACK_GUARD = 8
_STRIDE = 64
_BELOW_OR_EQUAL, _ABOVE, _ABOVE_OR_EQUAL, _EQUAL = 6, 7, 3, 4


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a function decides its prologue, epilogue and tail calls."""

    saved: tuple[int, ...]
    tail_calls: bool
    arena: bool
    stack: int
    poke: tuple[tuple[int, int], ...]


def translator(env: JitEnvironment, function: LoadedFunction) -> Translator:
    """The translator for this kernel; functions with a private stack have their own."""
    return _translator(
        env.rules,
        env.kernel.returns,
        env.kernel.retpoline,
        env.kernel.ibt,
        env.accounted if env.kernel.returns is Returns.STUFFING else frozenset(),
        env.symbols.get("__bpf_call_base", 0) if env.kernel.returns is Returns.STUFFING else 0,
        bool(function.private_stack),
        env.five_level_paging,
    )


@lru_cache(maxsize=16)
def _translator(rules: JitRules, *knobs: Any) -> Translator:
    return Translator(ISA, _Rules(rules, *knobs).rule, _keys(), _STRIDE, _PARAMETERS)


def _keys() -> bytes:
    keys = bytearray(256)
    for cls in (isa.ALU, isa.ALU64):
        for op in (isa.LSH, isa.RSH, isa.ARSH, isa.END):
            keys[cls | op] = keys[cls | op | isa.X] = KEY_IMM
        keys[cls | isa.MOV | isa.X] = KEY_OFFSET | KEY_IMM
        for op in (isa.DIV, isa.MOD):
            keys[cls | op] = keys[cls | op | isa.X] = KEY_OFFSET
    for jump in range(256):
        if jump & 7 in (isa.JMP, isa.JMP32):
            keys[jump] = KEY_OFFSET if jump == isa.JMP | isa.JA else 0
            if not jump & isa.X and jump & 0xF0 in CONDITIONS:
                keys[jump] = KEY_IMM
    keys[isa.JMP | isa.CALL] = KEY_IMM | KEY_SHAPE
    keys[isa.JMP | isa.TAIL_CALL] = KEY_IMM | KEY_SHAPE
    keys[isa.JMP | isa.EXIT] = KEY_FIRST | KEY_SHAPE
    keys[isa.LD_IMM64] = TWO_RECORDS
    for size in isa.SIZES:
        keys[isa.STX | isa.ATOMIC | size] = KEY_IMM
        keys[isa.STX | isa.PROBE_ATOMIC | size] = KEY_IMM
        keys[isa.LDX | isa.PROBE_MEM | size] = KEY_OFFSET
        keys[isa.LDX | isa.PROBE_MEMSX | size] = KEY_OFFSET
    return bytes(keys)


def plan(
    env: JitEnvironment, function: LoadedFunction, insns: Insns, main: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...], Sequence[int | None], Any]:
    """Prologue, epilogue, parameters and shape of a function (emit_prologue)."""
    if function.exception_cb:
        raise UnsupportedError("x86_64: an exception callback program")
    depth = (function.stack_depth + 7) & ~7
    stack = 0 if function.private_stack else depth
    arena = bool(function.arena_vm_start)
    if function.exception_boundary:
        saved: tuple[int, ...] = (R12, *CALLEE_SAVED.values())
    else:
        saved = tuple(reg for number, reg in CALLEE_SAVED.items() if insns.uses(number))
        saved = (R12, *saved) if arena else saved
    tail_calls = function.tail_call_reachable
    landing: list[tuple[Any, ...]] = [("endbr64",)] if env.kernel.ibt else []
    items = [*landing, ("nop", 5)]
    items += [("xor", RAX, RAX)] if tail_calls and main else [("nop", 3)]
    items += [("push", RBP), ("mov", RBP, RSP), *landing]
    if stack:
        items.append(("subi_wide", RSP, stack))
    if tail_calls:
        items += _count_tail_calls(main)
    items += [("push", reg) for reg in saved]
    if arena:
        items.append(("movi", R12, _ARENA))
    if function.private_stack:
        items += [("movi", R9, _PRIVATE), ("add_gs", R9, _CPU_OFFSET)]
    symbols = env.symbols
    thunk = THUNKS.get(env.kernel.returns)
    stuffing = env.kernel.returns is Returns.STUFFING
    indirect = "__x86_indirect_jump_thunk_rcx" if stuffing else "__x86_indirect_thunk_rcx"
    private = function.private_stack + _PRIVATE_STACK_GUARD + depth
    params = (
        symbols.get("__bpf_call_base"),
        _low32(symbols.get("this_cpu_off")),
        -16 - stack,
        stack,
        symbols.get(thunk) if thunk else None,
        symbols.get(indirect),
        symbols.get("__x86_call_depth"),
        function.arena_user_vm_start >> 32 if arena else None,
        private if function.private_stack else None,
        function.arena_vm_start if arena else None,
    )
    shape = _Shape(saved, tail_calls, arena, stack, function.poke)
    return tuple(items), (), params, shape


def _low32(address: int | None) -> int | None:
    """An absolute 32-bit address as instructions hold it (sign extended)."""
    if address is None:
        return None
    low = address & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low


def _count_tail_calls(main: bool) -> Rule:
    """Where the tail call counter lives: in the main program's frame; rax points to it."""
    if not main:
        return [("push", RAX), ("push", RAX)]
    return [
        ("cmpi", RAX, _MAX_TAIL_CALLS),
        ("jcc_short", _ABOVE, local(0)),
        ("push", RAX),
        ("mov", RAX, RSP),
        ("jmp_short", local(1)),
        ("label", 0),
        ("push", RAX),
        ("label", 1),
        ("push", RAX),
    ]


class _Rules:
    """The rules of one kernel; `rule` is what the translator asks."""

    def __init__(
        self,
        rules: JitRules,
        returns: Returns,
        retpoline: bool,
        ibt: bool,
        accounted: frozenset[int],
        call_base: int,
        private_stack: bool,
        five_level_paging: bool,
    ) -> None:
        self._rules = rules
        self._offsets = rules.offsets
        self._returns = returns
        self._retpoline = retpoline
        self._tail_call_entry = _TAIL_CALL_ENTRY + (4 if ibt else 0)
        self._accounted = accounted
        self._call_base = call_base
        self._private = private_stack
        self._bits = 56 if five_level_paging else 47
        self._registers = register_map(rules.scratch, private_stack)

    def rule(
        self,
        opcode: int,
        dst: int,
        src: int,
        offset: int | None,
        imm: int | None,
        first: bool,
        shape: _Shape,
    ) -> Rule:
        """The machine operations of an eBPF instruction."""
        cls = opcode & 7
        if cls in (isa.ALU, isa.ALU64):
            return self._alu(opcode, dst, src, offset, imm)
        if cls in (isa.JMP, isa.JMP32):
            return self._jump(opcode, dst, src, offset, imm, first, shape)
        if opcode == isa.LD_IMM64:
            return [("movi", self._registers[dst], IMM64)]
        return self._memory(opcode, dst, src, offset, imm)

    def _unknown(self, opcode: int) -> UnsupportedError:
        return UnsupportedError(f"x86_64: no rule for eBPF opcode {opcode:#04x}")

    def _alu(self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None) -> Rule:
        wide = opcode & 7 == isa.ALU64
        suffix = "" if wide else "32"
        op, from_register = opcode & 0xF0, bool(opcode & isa.X)
        rd = self._registers[dst]
        if op in _SIMPLE:
            if from_register:
                return [(_SIMPLE[op] + suffix, rd, self._registers[src])]
            return [(f"{_SIMPLE[op]}i{suffix}_acc", rd, IMM)]
        if op == isa.MOV:
            if not from_register:
                return [("movi" if wide else "movi32", rd, IMM)]
            return self._move(rd, self._registers[src], wide, offset or 0, imm or 0)
        if op == isa.NEG:
            return [("neg" + suffix, rd)]
        if op == isa.MUL:
            if from_register:
                return [("imul" + suffix, rd, self._registers[src])]
            return [("imuli" + suffix, rd, rd, IMM)]
        if op in (isa.DIV, isa.MOD):
            rs = self._registers[src] if from_register else None
            return _divide(op, rd, rs, wide, signed=offset == 1)
        if op in _SHIFTS:
            if from_register:
                return self._shift(op, rd, self._registers[src], wide)
            if imm == 1:
                return [(f"{_SHIFTS[op]}1" + ("" if wide else "_32"), rd)]
            return [(f"{_SHIFTS[op]}i{suffix}", rd, (imm or 0) & 0xFF)]
        if op == isa.END and imm in (16, 32, 64):
            return _swap(rd, imm, wide or from_register)
        raise self._unknown(opcode)

    def _move(self, rd: int, rs: int, wide: bool, offset: int, imm: int) -> Rule:
        if wide and offset == isa.ADDR_SPACE_CAST:
            return self._cast(rd, rs, imm)
        if wide and offset == isa.PERCPU_MOV:
            move = [("mov", rd, rs)] if rd != rs else []
            return [*move, ("add_gs", rd, _CPU_OFFSET)]
        if offset == 0:
            if wide:
                return [("mov", rd, rs)] if rd != rs else []
            return [("mov32", rd, rs)]
        if offset in (8, 16) or (offset == 32 and wide):
            return [(f"movsx{offset}" + ("" if wide else "_32"), rd, rs)]
        raise UnsupportedError(f"x86_64: register move with offset {offset}")

    @staticmethod
    def _cast(rd: int, rs: int, imm: int) -> Rule:
        """Arena pointer of the kernel to one of the user: its upper half, unless it is null."""
        if imm != 1 << 16:
            raise UnsupportedError(f"x86_64: address space cast {imm:#x}")
        return [
            ("mov32", rd, rs),
            ("shli", rd, 32),
            ("ori_wide_acc", rd, _ARENA_USER),
            ("roli", rd, 32),
            ("xor", AUX, AUX),
            ("test32", rd, rd),
            ("cmove", rd, AUX),
        ]

    @staticmethod
    def _shift(op: int, rd: int, rs: int, wide: bool) -> Rule:
        suffix = "" if wide else "32"
        if rs == RCX:
            return [(f"{_SHIFTS[op]}{suffix}_cl", rd)]
        return [(f"{_SHIFTS[op]}x{suffix}", rd, rd, rs)]

    def _memory(self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None) -> Rule:
        cls, mode, size = opcode & 7, opcode & 0xE0, opcode & 0x18
        rd = self._registers[dst]
        rs = 0 if cls == isa.ST else self._registers[src]
        if cls == isa.STX and mode in (isa.ATOMIC, isa.PROBE_ATOMIC):
            build = atomic if mode == isa.ATOMIC else arena_atomic
            return build(size, imm or 0, rd, rs, self._rules.locked_exchange)
        if mode == isa.PROBE_MEM32 and cls != isa.LD:
            return arena_access(opcode, rd, rs)
        if cls == isa.LDX:
            if mode == isa.MEM:
                return [(LOADS[size], rd, rs, OFFSET)]
            if mode == isa.PROBE_MEM:
                return probed_load(rd, rs, offset or 0, LOADS[size], self._bits)
            if size in SIGNED_LOADS and mode == isa.MEMSX:
                return [(SIGNED_LOADS[size], rd, rs, OFFSET)]
            if size in SIGNED_LOADS and mode == isa.PROBE_MEMSX:
                return probed_load(rd, rs, offset or 0, SIGNED_LOADS[size], self._bits)
            if size in SIGNED_LOADS and mode == isa.PROBE_MEM32SX:
                return arena_access(opcode, rd, rs)
        if mode == isa.MEM and cls == isa.STX:
            return [(STORES[size], rd, OFFSET, rs)]
        if mode == isa.MEM and cls == isa.ST:
            return [(STORES[size].replace("store", "storei"), rd, OFFSET, IMM)]
        if opcode == isa.ST | isa.ATOMIC:
            return [("lfence",)]
        raise self._unknown(opcode)

    def _jump(
        self,
        opcode: int,
        dst: int,
        src: int,
        offset: int | None,
        imm: int | None,
        first: bool,
        shape: _Shape,
    ) -> Rule:
        op, wide, from_register = opcode & 0xF0, opcode & 7 == isa.JMP, bool(opcode & isa.X)
        if op in CONDITIONS:
            compare = self._compare(op, dst, src, imm, wide, from_register)
            return [compare, ("branch", "jcc_short", "jcc", CONDITIONS[op], TARGET)]
        if op == isa.JA and not from_register:
            if wide and offset == -1:
                # A jump to itself: its size is still open where others take theirs.
                return [("jmp_rel", -2)]
            return [("branch", "jmp_short", "jmp", -1, TARGET if wide else TARGET_IMM)]
        if opcode == isa.JMP | isa.CALL:
            return self._call(src, imm or 0, shape)
        if opcode == isa.JMP | isa.EXIT:
            if first:
                return self._leave(shape)
            return [("branch", "jmp_short", "jmp", -1, ONCE)]
        if opcode == isa.JMP | isa.TAIL_CALL:
            return self._tail_call_known(imm, shape) if imm else self._tail_call(shape)
        raise self._unknown(opcode)

    def _compare(
        self, op: int, dst: int, src: int, imm: int | None, wide: bool, from_register: bool
    ) -> tuple[Any, ...]:
        suffix = "" if wide else "32"
        rd = self._registers[dst]
        if from_register:
            name = "test" if op == isa.JSET else "cmp"
            return (name + suffix, rd, self._registers[src])
        if op == isa.JSET:
            return ("testi" + suffix, rd, IMM)
        if imm == 0:
            return ("test" + suffix, rd, rd)
        return ("cmpi" + suffix, rd, IMM)

    def _call(self, src: int, imm: int, shape: _Shape) -> Rule:
        items: list[tuple[Any, ...]] = []
        if shape.tail_calls and (src == Pseudo.CALL or self._rules.counter_for_helpers):
            items.append(("load64_wide", RAX, RBP, _COUNTER))
        if self._private:
            items.append(("push", R9))
        if self._returns is Returns.STUFFING and self._call_base + imm not in self._accounted:
            items.append(("sar_gs_rip", _CALL_DEPTH, 5))
        items.append(("call", IMM + _CALL_BASE))
        if self._private:
            items.append(("pop", R9))
        return items

    def _restore(self, shape: _Shape) -> Rule:
        return [("pop", reg) for reg in reversed(shape.saved)]

    def _leave(self, shape: _Shape) -> Rule:
        end: Rule = [("ret",), ("int3",)]
        if self._returns is not Returns.PLAIN:
            end = [("jmp", _RETURN)]
        return [*self._restore(shape), ("leave",), *end]

    def _tail_call(self, shape: _Shape) -> Rule:
        """Tail call with an index that is not constant: r2 is the map, r3 the index."""
        out = local(0)
        unwind = self._unwind(shape)
        leave: Rule = [("jmp", _INDIRECT)] if self._retpoline else [("jmp_reg", RCX), ("int3",)]
        return [
            ("mov32", RDX, RDX),
            ("cmp_mem32", RSI, self._offsets.map_max_entries, RDX),
            ("jcc_short", _BELOW_OR_EQUAL, out),
            ("load64_wide", RAX, RBP, _COUNTER),
            ("cmp_at_imm8", RAX, _MAX_TAIL_CALLS),
            ("jcc_short", _ABOVE_OR_EQUAL, out),
            ("load64_x8", RCX, RSI, RDX, self._offsets.array_ptrs),
            ("test", RCX, RCX),
            ("jcc_short", _EQUAL, out),
            ("add_at_imm8", RAX, 1),
            *unwind,
            ("load64", RCX, RCX, self._offsets.prog_bpf_func),
            ("addi", RCX, self._tail_call_entry),
            *leave,
            ("label", 0),
        ]

    def _unwind(self, shape: _Shape) -> Rule:
        stack: Rule = [("addi_wide", RSP, shape.stack)] if shape.stack else []
        return [*self._restore(shape), ("pop", RAX), ("pop", RAX), *stack]

    def _tail_call_known(self, imm: int, shape: _Shape) -> Rule:
        """Tail call to a constant index: two places that map updates patch."""
        target = dict(shape.poke).get(imm, 0)
        out = local(0)
        return [
            ("load64_wide", RAX, RBP, _COUNTER),
            ("cmp_at_imm8", RAX, _MAX_TAIL_CALLS),
            ("jcc_short", _ABOVE_OR_EQUAL, out),
            ("nop", 5) if target else ("jmp", out),
            ("add_at_imm8", RAX, 1),
            *self._unwind(shape),
            ("jmp", target + self._tail_call_entry) if target else ("nop", 5),
            ("label", 0),
        ]


_SIMPLE = {isa.ADD: "add", isa.SUB: "sub", isa.AND: "and", isa.OR: "or", isa.XOR: "xor"}
_SHIFTS = {isa.LSH: "shl", isa.RSH: "shr", isa.ARSH: "sar"}


def _divide(op: int, rd: int, rs: int | None, wide: bool, signed: bool) -> Rule:
    """Division through rax and rdx, which keep their values unless they are the result."""
    suffix = "" if wide else "32"
    saved = [reg for reg in (RAX, RDX) if reg != rd]
    items: list[tuple[Any, ...]] = [("push", reg) for reg in saved]
    if rs is None:
        items.append(("mov_simm32", AUX, IMM))
        rs = AUX
    elif rs in (RAX, RDX):
        items.append(("mov", AUX, rs))
        rs = AUX
    if rd != RAX:
        items.append(("mov" + suffix, RAX, rd))
    if signed:
        items += [("cqo" if wide else "cdq",), ("idiv" + suffix, rs)]
    else:
        items += [("xor32", RDX, RDX), ("div" + suffix, rs)]
    result = RDX if op == isa.MOD else RAX
    if result != rd:
        items.append(("mov" + suffix, rd, result))
    return items + [("pop", reg) for reg in reversed(saved)]


def _swap(rd: int, bits: int, swap: bool) -> Rule:
    """To big endian, or (nothing but zero extension) to little endian."""
    if bits == 16:
        return [*([("rori16", rd, 8)] if swap else []), ("movzx16", rd, rd)]
    if swap:
        return [("bswap" if bits == 64 else "bswap32", rd)]
    return [("mov32", rd, rd)] if bits == 32 else []
