"""x86_64: values and shapes that rules, prologues and epilogues share."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim._native.rules import param

__all__ = [
    "ARENA_BASE",
    "ARENA_USER",
    "CALL_BASE",
    "CALL_DEPTH",
    "COUNTER",
    "CPU_OFFSET",
    "INDIRECT",
    "MAX_TAIL_CALLS",
    "PARAMETERS",
    "PRIVATE",
    "RETURN",
    "STACK",
    "Shape",
]

PARAMETERS = (
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
    CALL_BASE,
    CPU_OFFSET,
    COUNTER,
    STACK,
    RETURN,
    INDIRECT,
    CALL_DEPTH,
    ARENA_USER,
    PRIVATE,
    ARENA_BASE,
) = map(param, range(len(PARAMETERS)))

MAX_TAIL_CALLS = 33
"""Tail calls that a chain of programs may make (MAX_TAIL_CALL_CNT)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a function decides its prologue, epilogue and tail calls."""

    saved: tuple[int, ...]
    tail_calls: bool
    arena: bool
    stack: int
    poke: tuple[tuple[int, int], ...]
