"""arm64: prologue, epilogue and registers (arch/arm64/net).

Registers: r1-r5 are x0-x4, r6-r9 x19-x22, the frame pointer x25, the verifier's scratch
register x9; r0 is x8 (x7 before 7.2). x10-x12 are the JIT's own, x26 points to the tail
call counter, x27 to a private stack, x28 to the arena.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tramposim._native.arm64_asm import ISA
from tramposim._native.rules import HERE, local
from tramposim._native.translator import KEY_IMM, KEY_LAST, KEY_OFFSET, KEY_SHAPE, Translator
from tramposim.bpf import insn as isa
from tramposim.bpf.loaded import LoadedFunction
from tramposim.errors import UnsupportedError
from tramposim.jit.arm64.instructions import Rules
from tramposim.jit.arm64.parameters import ARENA_BASE, PARAMETERS, PRIVATE, Shape, pairs, pops
from tramposim.jit.arm64.registers import (
    ARENA,
    CALLEE_SAVED,
    COUNTER,
    FP,
    LR,
    PRIVATE_SP,
    SP,
    TMP,
    ZR,
)
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.rules import Insns, Rule, common_keys
from tramposim.jit.versions import JitRules
from tramposim.kernel.versions import rules_for

__all__ = ["plan", "translator"]

_PRIVATE_STACK_GUARD = 16
_STRIDE = 4


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
    return Translator(ISA, Rules(rules, *knobs).rule, _keys(), _STRIDE, PARAMETERS)


def _keys() -> bytes:
    keys = common_keys()
    keys[isa.JMP | isa.CALL] = KEY_IMM
    keys[isa.JMP | isa.TAIL_CALL] = KEY_SHAPE
    keys[isa.JMP | isa.EXIT] = KEY_LAST
    for size in isa.SIZES:
        keys[isa.STX | isa.ATOMIC | size] = KEY_IMM | KEY_OFFSET
        keys[isa.STX | isa.PROBE_ATOMIC | size] = KEY_IMM | KEY_OFFSET
    return bytes(keys)


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
    items += [("stp_pre", a, b, SP, -16) for a, b in pairs(saved)]
    if uses_frame:
        items += _frame_pointer(private, size)
    if stack:
        items.append(("subi", SP, SP, stack))
    if arena:
        items.append(("movi", ARENA, ARENA_BASE))

    out: list[tuple[Any, ...]] = [("addi", SP, SP, stack)] if stack else []
    out += pops(saved)
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
    return tuple(items), tuple(out), params, Shape(saved, stack)


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
        ("movi", PRIVATE_SP, PRIVATE),
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
