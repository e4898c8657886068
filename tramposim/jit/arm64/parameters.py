"""arm64: values and shapes that rules, prologues and epilogues share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tramposim._native.rules import param
from tramposim.jit.arm64.registers import SP, ZR

__all__ = [
    "ARENA_BASE",
    "ARENA_USER",
    "CALL_BASE",
    "MAX_TAIL_CALLS",
    "PARAMETERS",
    "PRIVATE",
    "STACK",
    "Shape",
    "pairs",
    "pops",
]

PARAMETERS = (
    "__bpf_call_base",
    "the stack size",
    "the arena's user address",
    "the private stack",
    "the arena's kernel address",
)
CALL_BASE, STACK, ARENA_USER, PRIVATE, ARENA_BASE = map(param, range(len(PARAMETERS)))

MAX_TAIL_CALLS = 33
"""Tail calls that a chain of programs may make (MAX_TAIL_CALL_CNT)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a function decides its prologue, epilogue and tail calls."""

    saved: tuple[int, ...]
    stack: int


def pairs(registers: tuple[int, ...]) -> list[tuple[int, int]]:
    """Registers two by two, as stores and loads of pairs take them; the last may be zero."""
    padded = registers + (ZR,) * (len(registers) % 2)
    return list(zip(padded[::2], padded[1::2], strict=True))


def pops(registers: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """Operations that take registers back from the stack."""
    return [("ldp_post", a, b, SP, 16) for a, b in reversed(pairs(registers))]
