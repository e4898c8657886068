"""x86_64: prologue, epilogue and registers (arch/x86/net).

Registers: r0-r5 are rax, rdi, rsi, rdx, rcx, r8; r6-r9 are rbx, r13, r14, r15; the frame
pointer is rbp, or r9 when the program has a private stack. The arena's base is in r12.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tramposim._native.rules import local
from tramposim._native.translator import KEY_FIRST, KEY_IMM, KEY_OFFSET, KEY_SHAPE, Translator
from tramposim._native.x86_64_asm import ISA
from tramposim.bpf import insn as isa
from tramposim.bpf.loaded import LoadedFunction
from tramposim.errors import UnsupportedError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.rules import Insns, Rule, common_keys
from tramposim.jit.trampoline import THUNKS
from tramposim.jit.versions import JitRules
from tramposim.jit.x86_64.instructions import Rules
from tramposim.jit.x86_64.parameters import (
    ARENA_BASE,
    CPU_OFFSET,
    MAX_TAIL_CALLS,
    PARAMETERS,
    PRIVATE,
    Shape,
)
from tramposim.jit.x86_64.registers import CALLEE_SAVED, CONDITIONS, R9, R12, RAX, RBP, RSP
from tramposim.spec import Returns

__all__ = ["plan", "translator"]

_PRIVATE_STACK_GUARD = 8
_STRIDE = 64
_ABOVE = 7


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
    return Translator(ISA, Rules(rules, *knobs).rule, _keys(), _STRIDE, PARAMETERS)


def _keys() -> bytes:
    keys = common_keys()
    for jump in range(256):
        if jump & 7 in (isa.JMP, isa.JMP32):
            keys[jump] = KEY_OFFSET if jump == isa.JMP | isa.JA else 0
            if not jump & isa.X and jump & 0xF0 in CONDITIONS:
                keys[jump] = KEY_IMM
    keys[isa.JMP | isa.CALL] = KEY_IMM | KEY_SHAPE
    keys[isa.JMP | isa.TAIL_CALL] = KEY_IMM | KEY_SHAPE
    keys[isa.JMP | isa.EXIT] = KEY_FIRST | KEY_SHAPE
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
        items.append(("movi", R12, ARENA_BASE))
    if function.private_stack:
        items += [("movi", R9, PRIVATE), ("add_gs", R9, CPU_OFFSET)]
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
    shape = Shape(saved, tail_calls, arena, stack, function.poke)
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
        ("cmpi", RAX, MAX_TAIL_CALLS),
        ("jcc_short", _ABOVE, local(0)),
        ("push", RAX),
        ("mov", RAX, RSP),
        ("jmp_short", local(1)),
        ("label", 0),
        ("push", RAX),
        ("label", 1),
        ("push", RAX),
    ]
