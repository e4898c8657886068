"""arm64: what each eBPF instruction becomes, prologue and epilogue (arch/arm64/net).

Registers: r1-r5 are x0-x4, r6-r9 x19-x22, the frame pointer x25, the verifier's scratch
register x9; r0 is x8 (x7 before 7.2). x10-x12 are the JIT's own, x26 points to the tail
call counter, x27 to a private stack, x28 to the arena.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tramposim._native.arm64_asm import ISA
from tramposim._native.translator import (
    END,
    HERE,
    IMM,
    IMM64,
    KEY_IMM,
    KEY_LAST,
    KEY_OFFSET,
    KEY_SHAPE,
    OFFSET,
    TARGET,
    TARGET_IMM,
    TWO_RECORDS,
    Translator,
    local,
    param,
)
from tramposim.bpf import insn as isa
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import Pseudo
from tramposim.bpf.loaded import LoadedFunction
from tramposim.errors import UnsupportedError
from tramposim.jit.arm64.atomics import acquire_release, exclusive, lse
from tramposim.jit.arm64.immediates import add_immediate
from tramposim.jit.arm64.registers import (
    ARENA,
    CALLEE_SAVED,
    CONDITIONS,
    COUNTER,
    FP,
    LR,
    PRIVATE_SP,
    SP,
    TMP,
    TMP2,
    TMP3,
    ZR,
    register_map,
)
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.rules import Insns, Rule, choose
from tramposim.jit.versions import JitRules
from tramposim.kernel.versions import rules_for

__all__ = ["plan", "translator"]

_PARAMETERS = (
    "__bpf_call_base",
    "the stack size",
    "the arena's user address",
    "the private stack",
    "the arena's kernel address",
)
_CALL_BASE, _STACK, _ARENA_USER, _PRIVATE, _ARENA_START = map(param, range(len(_PARAMETERS)))

_MAX_TAIL_CALLS = 33
_PRIVATE_STACK_GUARD = 16
_STRIDE = 4
_CARRY_SET = 2
_CURRENT_TASK = (HELPER_IDS["bpf_get_current_task"], HELPER_IDS["bpf_get_current_task_btf"])
_PROCESSOR_ID = HELPER_IDS["bpf_get_smp_processor_id"]

_LOADS = {isa.B: "ldrb", isa.H: "ldrh", isa.W: "ldr32", isa.DW: "ldr"}
_SIGNED_LOADS = {isa.B: "ldrsb", isa.H: "ldrsh", isa.W: "ldrsw"}
_STORES = {isa.B: "strb", isa.H: "strh", isa.W: "str32", isa.DW: "str"}
_SCALED = {isa.B: "scaled1", isa.H: "scaled2", isa.W: "scaled4", isa.DW: "scaled8"}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a function decides its prologue, epilogue and tail calls."""

    saved: tuple[int, ...]
    stack: int


def translator(env: JitEnvironment, function: LoadedFunction) -> Translator:
    """The translator for this kernel; functions with a private stack have their own."""
    base = env.symbols.get("__bpf_call_base", 0)
    return _translator(
        env.rules,
        rules_for(env.kernel).add_moves,
        env.kernel.bti + env.kernel.pac,
        env.kernel.lse,
        env.symbols.get("arch_bpf_timed_may_goto", 0) - base,
        bool(function.private_stack),
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
    keys[isa.JMP | isa.CALL] = KEY_IMM
    keys[isa.JMP | isa.TAIL_CALL] = KEY_SHAPE
    keys[isa.JMP | isa.EXIT] = KEY_LAST
    keys[isa.LD_IMM64] = TWO_RECORDS
    for size in isa.SIZES:
        keys[isa.STX | isa.ATOMIC | size] = KEY_IMM | KEY_OFFSET
        keys[isa.STX | isa.PROBE_ATOMIC | size] = KEY_IMM | KEY_OFFSET
    return bytes(keys)


def _pairs(registers: tuple[int, ...]) -> list[tuple[int, int]]:
    padded = registers + (ZR,) * (len(registers) % 2)
    return list(zip(padded[::2], padded[1::2], strict=True))


def _pops(registers: tuple[int, ...]) -> list[tuple[Any, ...]]:
    return [("ldp_post", a, b, SP, 16) for a, b in reversed(_pairs(registers))]


def plan(
    env: JitEnvironment, function: LoadedFunction, insns: Insns, main: bool
) -> tuple[tuple[Any, ...], tuple[Any, ...], Sequence[int | None], Any]:
    """Prologue, epilogue, parameters and shape of a function (build_prologue, _epilogue)."""
    if function.exception_cb:
        raise UnsupportedError("arm64: an exception callback program")
    size = (function.stack_depth + 15) & ~15
    private = bool(function.private_stack)
    arena = bool(function.arena_vm_start)
    uses_frame = insns.uses(10) or function.exception_boundary
    saved = _saved_registers(function, insns)
    stack = 0 if private else size
    move = "addi" if rules_for(env.kernel).add_moves else "mov"
    result = env.rules.result

    items: list[tuple[Any, ...]] = [("bti_jc",)] if env.kernel.bti else []
    items.append((move, 9, LR, 0) if move == "addi" else (move, 9, LR))
    items += [("nop",), *([("paciasp",)] if env.kernel.pac else [])]
    items += [("stp_pre", 29, LR, SP, -16), ("addi", 29, SP, 0)]
    if main:
        items += [("stp_pre", ZR, COUNTER, SP, -16), ("addi", COUNTER, SP, 0)]
    else:
        items.append(("stp_pre", COUNTER, COUNTER, SP, -16))
    items += [("stp_pre", a, b, SP, -16) for a, b in _pairs(saved)]
    if uses_frame:
        items += _frame_pointer(private, size)
    if stack:
        items.append(("subi", SP, SP, stack))
    if arena:
        items.append(("movi", ARENA, _ARENA_START))

    out: list[tuple[Any, ...]] = [("addi", SP, SP, stack)] if stack else []
    out += _pops(saved)
    out += [("ldp_post", ZR, COUNTER, SP, 16), ("ldp_post", 29, LR, SP, 16)]
    out.append((move, 0, result, 0) if move == "addi" else (move, 0, result))
    out += [*([("autiasp",)] if env.kernel.pac else []), ("ret", LR), *_LONG_JUMP]
    params = (
        env.symbols.get("__bpf_call_base"),
        size,
        function.arena_user_vm_start >> 32 if arena else None,
        function.private_stack + _PRIVATE_STACK_GUARD if private else None,
        function.arena_vm_start if arena else None,
    )
    return tuple(items), tuple(out), params, _Shape(saved, stack)


_LONG_JUMP: Rule = (
    ("when", "misaligned8", HERE, 1),
    ("nop",),
    ("label", 0),
    ("ldr_lit", TMP, local(0) + 8),
    ("br", TMP),
)
"""The way to a trampoline out of branch range; its target lies behind it, 8-byte aligned."""


def _frame_pointer(private: bool, size: int) -> Rule:
    if not private:
        return [("addi", FP, SP, 0)]
    return [
        ("movi", PRIVATE_SP, _PRIVATE),
        ("mrs_tpidr_el1", TMP),
        ("add", PRIVATE_SP, PRIVATE_SP, TMP),
        ("addi", FP, PRIVATE_SP, size),
    ]


def _saved_registers(function: LoadedFunction, insns: Insns) -> tuple[int, ...]:
    if function.exception_boundary:
        return tuple(range(19, 29))
    saved = [reg for number, reg in CALLEE_SAVED.items() if insns.uses(number)]
    if insns.uses(10):
        saved.append(FP)
        if function.private_stack:
            saved.append(PRIVATE_SP)
    if function.arena_vm_start:
        saved.append(ARENA)
    return tuple(saved)


class _Rules:
    """The rules of one kernel; `rule` is what the translator asks."""

    def __init__(
        self,
        rules: JitRules,
        add_moves: bool,
        landing: int,
        lse: bool,
        timed_may_goto: int,
        private_stack: bool,
    ) -> None:
        self._rules = rules
        self._offsets = rules.offsets
        self._add_moves = add_moves
        self._tail_call_entry = _TAIL_CALL_ENTRY + 4 * landing
        self._lse = lse
        self._timed_may_goto = timed_may_goto
        self._frame = PRIVATE_SP if private_stack else SP
        self._registers = register_map(rules.scratch, rules.result)

    def _move(self, wide: bool, rd: int, rs: int) -> tuple[Any, ...]:
        suffix = "" if wide else "32"
        return ("addi" + suffix, rd, rs, 0) if self._add_moves else ("mov" + suffix, rd, rs)

    def rule(
        self,
        opcode: int,
        dst: int,
        src: int,
        offset: int | None,
        imm: int | None,
        last: bool,
        shape: _Shape,
    ) -> Rule:
        """The machine operations of an eBPF instruction."""
        cls = opcode & 7
        if cls in (isa.ALU, isa.ALU64):
            return self._alu(opcode, dst, src, offset, imm)
        if cls in (isa.JMP, isa.JMP32):
            return self._jump(opcode, dst, src, imm, last, shape)
        if opcode == isa.LD_IMM64:
            return [("movi", self._registers[dst], IMM64)]
        return self._memory(opcode, dst, src, offset, imm)

    def _unknown(self, opcode: int) -> UnsupportedError:
        return UnsupportedError(f"arm64: no rule for eBPF opcode {opcode:#04x}")

    def _alu(self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None) -> Rule:
        wide = opcode & 7 == isa.ALU64
        suffix = "" if wide else "32"
        op, from_register = opcode & 0xF0, bool(opcode & isa.X)
        rd = self._registers[dst]
        if op == isa.NEG:
            return [("neg" + suffix, rd, rd)]
        if op == isa.END:
            return _swap(rd, imm or 0, wide, from_register)
        if from_register:
            return self._alu_register(op, rd, self._registers[src], wide, offset or 0, imm or 0)
        constant = ("movi_sx" if wide else "movi32", TMP, IMM)
        if op == isa.MOV:
            return [(constant[0], rd, IMM)]
        if op in (isa.ADD, isa.SUB):
            return add_immediate(_ADD_NAMES[op], rd, rd, suffix, IMM, constant)
        if op in _LOGICAL:
            name = _LOGICAL[op]
            bits = "bitmask64" if wide else "bitmask32"
            then = [(f"{name}i{suffix}", rd, rd, IMM.via(bits))]
            return choose(bits, IMM, then, [constant, (name + suffix, rd, rd, TMP)])
        if op in _SHIFTS:
            return [_shift(op, rd, imm or 0, wide)]
        if op == isa.MUL:
            return [constant, ("mul" + suffix, rd, rd, TMP)]
        if op == isa.DIV:
            return [constant, (_division(offset) + suffix, rd, rd, TMP)]
        if op == isa.MOD:
            return [
                (constant[0], TMP2, IMM),
                (_division(offset) + suffix, TMP, rd, TMP2),
                ("msub" + suffix, rd, TMP, TMP2, rd),
            ]
        raise self._unknown(opcode)

    def _alu_register(self, op: int, rd: int, rs: int, wide: bool, offset: int, imm: int) -> Rule:
        suffix = "" if wide else "32"
        if op in _PLAIN:
            return [(_PLAIN[op] + suffix, rd, rd, rs)]
        if op == isa.DIV:
            return [(_division(offset) + suffix, rd, rd, rs)]
        if op == isa.MOD:
            return [
                (_division(offset) + suffix, TMP, rd, rs),
                ("msub" + suffix, rd, TMP, rs, rd),
            ]
        if op != isa.MOV:
            raise UnsupportedError(f"arm64: no rule for eBPF operation {op:#04x}")
        if wide and offset == isa.ADDR_SPACE_CAST:
            if imm != 1 << 16:
                raise UnsupportedError(f"arm64: address space cast {imm:#x}")
            return [
                self._move(False, TMP, rs),
                ("movi32", rd, _ARENA_USER),
                ("ubfm", rd, rd, 32, 31),
                ("cbz", TMP, local(0)),
                ("orr", TMP, rd, TMP),
                ("label", 0),
                self._move(True, rd, TMP),
            ]
        if wide and offset == isa.PERCPU_MOV:
            move = [self._move(True, rd, rs)] if rd != rs else []
            return [*move, ("mrs_tpidr_el1", TMP), ("add", rd, rd, TMP)]
        if offset == 0:
            return [self._move(wide, rd, rs)]
        if offset in (8, 16) or (offset == 32 and wide):
            return [("sbfm" + suffix, rd, rs, 0, offset - 1)]
        raise UnsupportedError(f"arm64: register move with offset {offset}")

    def _memory(self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None) -> Rule:
        cls, mode, size = opcode & 7, opcode & 0xE0, opcode & 0x18
        if opcode == isa.ST | isa.ATOMIC:
            return []
        if cls == isa.STX and mode in (isa.ATOMIC, isa.PROBE_ATOMIC):
            return self._atomic(size, mode, dst, src, offset or 0, imm or 0)
        if cls == isa.LDX and (mode in _LOAD_MODES):
            signed = mode in (isa.MEMSX, isa.PROBE_MEMSX, isa.PROBE_MEM32SX)
            names = _SIGNED_LOADS if signed else _LOADS
            if size in names:
                arena = mode in (isa.PROBE_MEM32, isa.PROBE_MEM32SX)
                reg = self._registers[dst]
                return self._access(names[size], reg, src, size, arena, TMP, TMP2)
        if cls == isa.STX and mode in (isa.MEM, isa.PROBE_MEM32):
            reg = self._registers[src]
            return self._access(_STORES[size], reg, dst, size, mode != isa.MEM, TMP, TMP2)
        if cls == isa.ST and mode in (isa.MEM, isa.PROBE_MEM32):
            sum_ = TMP2 if self._rules.shared_sum else TMP3
            access = self._access(_STORES[size], TMP, dst, size, mode != isa.MEM, TMP2, sum_)
            at = 1 if mode != isa.MEM else 0
            return [*access[:at], ("movi_sx", TMP, IMM), *access[at:]]
        raise self._unknown(opcode)

    def _access(
        self, name: str, reg: int, base: int, size: int, arena: bool, scratch: int, sum_: int
    ) -> Rule:
        """A load or store of `reg`; frame accesses go through sp, whose offsets are positive."""
        rb = self._registers[base]
        head: list[tuple[Any, ...]] = []
        if arena:
            head.append(("add", sum_, rb, ARENA))
            rb = sum_
        near, place = rb, OFFSET
        if base == isa.Reg.FP and not arena:
            near, place = self._frame, OFFSET + _STACK
        far = [("movi_sx", scratch, OFFSET), (name + "_reg", reg, rb, scratch)]
        return [*head, *choose(_SCALED[size], place, [(name, reg, near, place)], far)]

    def _atomic(self, size: int, mode: int, dst: int, src: int, offset: int, imm: int) -> Rule:
        arena = mode == isa.PROBE_ATOMIC
        rd, rs = self._registers[dst], self._registers[src]
        short = self._rules.short_offsets
        if imm in (isa.LOAD_ACQ, isa.STORE_REL):
            return acquire_release(imm, size, rd, rs, offset, arena, short)
        if size not in (isa.W, isa.DW):
            raise UnsupportedError(f"arm64: atomic operation {imm:#x} of {isa.SIZES[size]} bytes")
        result = self._registers[0]
        if self._lse:
            return lse(imm, size == isa.DW, rd, rs, offset, arena, short, result)
        if arena:
            raise UnsupportedError("arm64: an atomic operation in an arena without LSE")
        scratch = 9
        wide = size == isa.DW
        return exclusive(imm, wide, rd, rs, offset, short, result, scratch, self._move)

    def _jump(
        self, opcode: int, dst: int, src: int, imm: int | None, last: bool, shape: _Shape
    ) -> Rule:
        op, wide, from_register = opcode & 0xF0, opcode & 7 == isa.JMP, bool(opcode & isa.X)
        suffix = "" if wide else "32"
        if op in CONDITIONS:
            rd = self._registers[dst]
            constant = ("movi_sx" if wide else "movi32", TMP, IMM)
            jump = ("bcond", CONDITIONS[op], TARGET)
            if from_register:
                name = "ands" if op == isa.JSET else "subs"
                return [(name + suffix, ZR, rd, self._registers[src]), jump]
            if op == isa.JSET:
                bits = "bitmask64" if wide else "bitmask32"
                then = [("andsi" + suffix, ZR, rd, IMM.via(bits))]
                return [*choose(bits, IMM, then, [constant, ("ands" + suffix, ZR, rd, TMP)]), jump]
            return [*add_immediate(_COMPARE, ZR, rd, suffix, IMM, constant), jump]
        if op == isa.JA and not from_register:
            return [("b", TARGET if wide else TARGET_IMM)]
        if opcode == isa.JMP | isa.CALL:
            return self._call(src, imm or 0)
        if opcode == isa.JMP | isa.EXIT:
            return [] if last else [("b", END)]
        if opcode == isa.JMP | isa.TAIL_CALL:
            return self._tail_call(shape)
        raise self._unknown(opcode)

    def _call(self, src: int, imm: int) -> Rule:
        result = self._registers[0]
        if src == 0 and imm in _CURRENT_TASK:
            return [("mrs_sp_el0", result)]
        if src == 0 and imm == _PROCESSOR_ID:
            return [("mrs_sp_el0", TMP), ("ldr32", result, TMP, self._offsets.thread_info_cpu)]
        target = IMM + _CALL_BASE
        if src == Pseudo.CALL:
            # The immediate is cut to 32 bits; subprograms lie near their callers.
            target = target.via("near")
        call = ("call", target, TMP)
        if src == 0 and imm == self._timed_may_goto:
            return [call]
        return [call, self._move(True, result, 0)]

    def _tail_call(self, shape: _Shape) -> Rule:
        """r2 is the map, r3 the index; x11 the program, x12 the counter."""
        r2, r3 = self._registers[2], self._registers[3]
        out = local(0)
        return [
            ("movi", TMP, self._offsets.map_max_entries),
            ("ldr32_reg", TMP, r2, TMP),
            self._move(False, r3, r3),
            ("subs32", ZR, r3, TMP),
            ("bcond", _CARRY_SET, out),
            ("movi", TMP, _MAX_TAIL_CALLS),
            ("ldr", TMP3, COUNTER, 0),
            ("subs", ZR, TMP3, TMP),
            ("bcond", _CARRY_SET, out),
            ("addi", TMP3, TMP3, 1),
            ("movi", TMP, self._offsets.array_ptrs),
            ("add", TMP, r2, TMP),
            ("ubfm", TMP2, r3, 61, 60),
            ("ldr_reg", TMP2, TMP, TMP2),
            ("cbz", TMP2, out),
            ("str", TMP3, COUNTER, 0),
            *([("addi", SP, SP, shape.stack)] if shape.stack else []),
            *_pops(shape.saved),
            ("movi", TMP, self._offsets.prog_bpf_func),
            ("ldr_reg", TMP, TMP2, TMP),
            ("addi", TMP, TMP, self._tail_call_entry),
            ("br", TMP),
            ("label", 0),
        ]


_TAIL_CALL_ENTRY = 24
"""Where tail calls enter a program: behind the first two pushes of its prologue; a landing
pad and a signature (bti, paciasp) add 4 each."""
_ADD_NAMES = {isa.ADD: ("add", "sub"), isa.SUB: ("sub", "add")}
_COMPARE = ("subs", "adds")
_LOAD_MODES = (
    isa.MEM,
    isa.MEMSX,
    isa.PROBE_MEM,
    isa.PROBE_MEMSX,
    isa.PROBE_MEM32,
    isa.PROBE_MEM32SX,
)
_LOGICAL = {isa.AND: "and", isa.OR: "orr", isa.XOR: "eor"}
_SHIFTS = (isa.LSH, isa.RSH, isa.ARSH)
_PLAIN = {
    isa.ADD: "add",
    isa.SUB: "sub",
    isa.AND: "and",
    isa.OR: "orr",
    isa.XOR: "eor",
    isa.MUL: "mul",
    isa.LSH: "lslv",
    isa.RSH: "lsrv",
    isa.ARSH: "asrv",
}


def _division(offset: int | None) -> str:
    return "sdiv" if offset == 1 else "udiv"


def _shift(op: int, rd: int, count: int, wide: bool) -> tuple[Any, ...]:
    width = 64 if wide else 32
    suffix = "" if wide else "32"
    if op == isa.LSH:
        return ("ubfm" + suffix, rd, rd, -count % width, width - 1 - count)
    return (("ubfm" if op == isa.RSH else "sbfm") + suffix, rd, rd, count, width - 1)


def _swap(rd: int, bits: int, wide: bool, big_endian: bool) -> Rule:
    """To big endian (or swapped), or (nothing but zero extension) to little endian."""
    suffix = "" if wide else "32"
    extend = ("ubfm" + suffix, rd, rd, 0, bits - 1)
    if bits not in (16, 32, 64):
        raise UnsupportedError(f"arm64: byte swap of {bits} bits")
    if not wide and not big_endian:
        return [] if bits == 64 else [extend]
    if bits == 16:
        return [("rev16" + ("" if wide else "_32"), rd, rd), extend]
    return [("rev", rd, rd) if bits == 64 else ("rev32_32", rd, rd)]
