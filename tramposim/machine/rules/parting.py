"""How a comparison of code and interpreter ends early."""

from __future__ import annotations

from tramposim.machine.rules.rule import Rule

__all__ = ["Differs", "Undefined"]


class Undefined(Exception):
    """The program reads what it has not written on its stack."""


class Differs(Exception):
    """Code and interpreter part, at an instruction of the code."""

    def __init__(self, rule: Rule, address: int, detail: str) -> None:
        super().__init__(detail)
        self.rule, self.address, self.detail = rule, address, detail
