"""arm64: operations with an immediate that may or may not fit the instruction."""

from __future__ import annotations

from typing import Any

from tramposim._native.rules import Value
from tramposim.jit.arm64.registers import TMP
from tramposim.jit.rules import Rule, choose

__all__ = ["add_immediate"]


def add_immediate(
    names: tuple[str, str], rd: int, rn: int, suffix: str, value: Value, constant: tuple[Any, ...]
) -> Rule:
    """Addition, subtraction or comparison, `names` being the operation and its opposite.

    With a 12-bit immediate (shifted by 12 or not), with its negative, else with a register
    that `constant` loads.
    """
    name, opposite = names
    negative = value.via("negate")
    shifted = [(f"{name}i{suffix}_lsl12", rd, rn, value.via("shift12"))]
    negative_shifted = [(f"{opposite}i{suffix}_lsl12", rd, rn, value.via("negate_shift12"))]
    rest: Rule = [constant, (name + suffix, rd, rn, TMP)]
    rest = choose("imm12_shifted", negative, negative_shifted, rest)
    rest = choose("imm12", negative, [(f"{opposite}i{suffix}", rd, rn, negative)], rest)
    rest = choose("imm12_shifted", value, shifted, rest)
    return choose("imm12", value, [(f"{name}i{suffix}", rd, rn, value)], rest)
