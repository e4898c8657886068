"""arm64: what each eBPF instruction becomes."""

from __future__ import annotations

from typing import Any

from tramposim._native.rules import END, IMM, OFFSET, TARGET, TARGET_IMM, local
from tramposim.bpf import insn as isa
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import Pseudo
from tramposim.errors import UnsupportedError
from tramposim.jit.arm64.atomics import acquire_release, exclusive, lse
from tramposim.jit.arm64.immediates import add_immediate
from tramposim.jit.arm64.parameters import ARENA_USER, CALL_BASE, MAX_TAIL_CALLS, STACK, Shape, pops
from tramposim.jit.arm64.registers import (
    ARENA,
    CONDITIONS,
    COUNTER,
    PRIVATE_SP,
    SP,
    TMP,
    TMP2,
    TMP3,
    ZR,
    register_map,
)
from tramposim.jit.rules import Rule, RuleBook, choose
from tramposim.jit.versions import JitRules

__all__ = ["Rules"]

_CARRY_SET = 2
_CURRENT_TASK = (HELPER_IDS["bpf_get_current_task"], HELPER_IDS["bpf_get_current_task_btf"])
_PROCESSOR_ID = HELPER_IDS["bpf_get_smp_processor_id"]

_LOADS = {isa.B: "ldrb", isa.H: "ldrh", isa.W: "ldr32", isa.DW: "ldr"}
_SIGNED_LOADS = {isa.B: "ldrsb", isa.H: "ldrsh", isa.W: "ldrsw"}
_STORES = {isa.B: "strb", isa.H: "strh", isa.W: "str32", isa.DW: "str"}
_SCALED = {isa.B: "scaled1", isa.H: "scaled2", isa.W: "scaled4", isa.DW: "scaled8"}


class Rules(RuleBook):
    """The rules of one kernel."""

    arch = "arm64"

    def __init__(
        self,
        rules: JitRules,
        add_moves: bool,
        landing: int,
        lse: bool,
        timed_may_goto: int,
        private_stack: bool,
    ) -> None:
        super().__init__(rules, register_map(rules.scratch, rules.result))
        self._add_moves = add_moves
        self._tail_call_entry = _TAIL_CALL_ENTRY + 4 * landing
        self._lse = lse
        self._timed_may_goto = timed_may_goto
        self._frame = PRIVATE_SP if private_stack else SP

    def _move(self, wide: bool, rd: int, rs: int) -> tuple[Any, ...]:
        suffix = "" if wide else "32"
        return ("addi" + suffix, rd, rs, 0) if self._add_moves else ("mov" + suffix, rd, rs)

    def arithmetic(
        self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None
    ) -> Rule:
        """Arithmetic of both widths."""
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
        raise self.unknown(opcode)

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
                ("movi32", rd, ARENA_USER),
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

    def memory(self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None) -> Rule:
        """Loads, stores and atomic operations."""
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
        raise self.unknown(opcode)

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
            near, place = self._frame, OFFSET + STACK
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

    def jump(
        self,
        opcode: int,
        dst: int,
        src: int,
        offset: int | None,
        imm: int | None,
        flag: bool,
        shape: Shape,
    ) -> Rule:
        """Jumps, calls and exit; an exit that is last (`flag`) runs on into the epilogue."""
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
            return [] if flag else [("b", END)]
        if opcode == isa.JMP | isa.TAIL_CALL:
            return self._tail_call(shape)
        raise self.unknown(opcode)

    def _call(self, src: int, imm: int) -> Rule:
        result = self._registers[0]
        if src == 0 and imm in _CURRENT_TASK:
            return [("mrs_sp_el0", result)]
        if src == 0 and imm == _PROCESSOR_ID:
            return [("mrs_sp_el0", TMP), ("ldr32", result, TMP, self._offsets.thread_info_cpu)]
        target = IMM + CALL_BASE
        if src == Pseudo.CALL:
            # The immediate is cut to 32 bits; subprograms lie near their callers.
            target = target.via("near")
        call = ("call", target, TMP)
        if src == 0 and imm == self._timed_may_goto:
            return [call]
        return [call, self._move(True, result, 0)]

    def _tail_call(self, shape: Shape) -> Rule:
        """r2 is the map, r3 the index; x11 the program, x12 the counter."""
        r2, r3 = self._registers[2], self._registers[3]
        out = local(0)
        return [
            ("movi", TMP, self._offsets.map_max_entries),
            ("ldr32_reg", TMP, r2, TMP),
            self._move(False, r3, r3),
            ("subs32", ZR, r3, TMP),
            ("bcond", _CARRY_SET, out),
            ("movi", TMP, MAX_TAIL_CALLS),
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
            *pops(shape.saved),
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
