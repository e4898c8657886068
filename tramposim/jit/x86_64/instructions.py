"""x86_64: what each eBPF instruction becomes.

Shifts by a register use BMI2, which every CPU that runs these kernels' tests has.
"""

from __future__ import annotations

from typing import Any

from tramposim._native.rules import IMM, OFFSET, ONCE, TARGET, TARGET_IMM, local
from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Pseudo
from tramposim.errors import UnsupportedError
from tramposim.jit.rules import Rule, RuleBook
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
from tramposim.jit.x86_64.parameters import (
    ARENA_USER,
    CALL_BASE,
    CALL_DEPTH,
    COUNTER,
    CPU_OFFSET,
    INDIRECT,
    MAX_TAIL_CALLS,
    RETURN,
    Shape,
)
from tramposim.jit.x86_64.registers import (
    AUX,
    CONDITIONS,
    R9,
    RAX,
    RBP,
    RCX,
    RDX,
    RSI,
    RSP,
    register_map,
)
from tramposim.spec import Returns

__all__ = ["Rules"]

_TAIL_CALL_ENTRY = 12
"""Where tail calls enter a program: behind its first push; an endbr64 before it adds 4."""
_BELOW_OR_EQUAL, _ABOVE_OR_EQUAL, _EQUAL = 6, 3, 4


class Rules(RuleBook):
    """The rules of one kernel."""

    arch = "x86_64"

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
        super().__init__(rules, register_map(rules.scratch, private_stack))
        self._returns = returns
        self._retpoline = retpoline
        self._tail_call_entry = _TAIL_CALL_ENTRY + (4 if ibt else 0)
        self._accounted = accounted
        self._call_base = call_base
        self._private = private_stack
        self._bits = 56 if five_level_paging else 47

    def arithmetic(
        self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None
    ) -> Rule:
        """Arithmetic of both widths."""
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
        raise self.unknown(opcode)

    def _move(self, rd: int, rs: int, wide: bool, offset: int, imm: int) -> Rule:
        if wide and offset == isa.ADDR_SPACE_CAST:
            return self._cast(rd, rs, imm)
        if wide and offset == isa.PERCPU_MOV:
            move = [("mov", rd, rs)] if rd != rs else []
            return [*move, ("add_gs", rd, CPU_OFFSET)]
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
            ("ori_wide_acc", rd, ARENA_USER),
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

    def memory(self, opcode: int, dst: int, src: int, offset: int | None, imm: int | None) -> Rule:
        """Loads, stores and atomic operations."""
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
        raise self.unknown(opcode)

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
        """Jumps, calls and exit; the first exit (`flag`) leaves, others jump to it."""
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
            if flag:
                return self._leave(shape)
            return [("branch", "jmp_short", "jmp", -1, ONCE)]
        if opcode == isa.JMP | isa.TAIL_CALL:
            return self._tail_call_known(imm, shape) if imm else self._tail_call(shape)
        raise self.unknown(opcode)

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

    def _call(self, src: int, imm: int, shape: Shape) -> Rule:
        items: list[tuple[Any, ...]] = []
        if shape.tail_calls and (src == Pseudo.CALL or self._rules.counter_for_helpers):
            items.append(("load64_wide", RAX, RBP, COUNTER))
        if self._private:
            items.append(("push", R9))
        if self._returns is Returns.STUFFING and self._call_base + imm not in self._accounted:
            items.append(("sar_gs_rip", CALL_DEPTH, 5))
        items.append(("call", IMM + CALL_BASE))
        if self._private:
            items.append(("pop", R9))
        return items

    def _restore(self, shape: Shape) -> Rule:
        return [("pop", reg) for reg in reversed(shape.saved)]

    def _leave(self, shape: Shape) -> Rule:
        end: Rule = [("ret",), ("int3",)]
        if self._returns is not Returns.PLAIN:
            end = [("jmp", RETURN)]
        return [*self._restore(shape), ("leave",), *end]

    def _tail_call(self, shape: Shape) -> Rule:
        """Tail call with an index that is not constant: r2 is the map, r3 the index."""
        out = local(0)
        unwind = self._unwind(shape)
        leave: Rule = [("jmp", INDIRECT)] if self._retpoline else [("jmp_reg", RCX), ("int3",)]
        return [
            ("mov32", RDX, RDX),
            ("cmp_mem32", RSI, self._offsets.map_max_entries, RDX),
            ("jcc_short", _BELOW_OR_EQUAL, out),
            ("load64_wide", RAX, RBP, COUNTER),
            ("cmp_at_imm8", RAX, MAX_TAIL_CALLS),
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

    def _unwind(self, shape: Shape) -> Rule:
        stack: Rule = [("addi_wide", RSP, shape.stack)] if shape.stack else []
        return [*self._restore(shape), ("pop", RAX), ("pop", RAX), *stack]

    def _tail_call_known(self, imm: int, shape: Shape) -> Rule:
        """Tail call to a constant index: two places that map updates patch."""
        target = dict(shape.poke).get(imm, 0)
        out = local(0)
        return [
            ("load64_wide", RAX, RBP, COUNTER),
            ("cmp_at_imm8", RAX, MAX_TAIL_CALLS),
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
