"""Assembler: a native plan whose parts have names; the architectures add their operations."""

from __future__ import annotations

from tramposim._native.asmplan import Isa, Label, Plan, Slot

__all__ = ["Assembler", "Label", "Operand", "Slot", "Target"]

Operand = int | Slot
"""A literal, or a value given at each emission."""
Target = int | Slot | Label
"""Where a branch or call goes."""


class Assembler(Plan):
    """Machine operations in order of emission; see `tramposim._native.asmplan.Plan`.

    `part_names` and `part_subjects` name what each part is and what it is about (an index
    that the caller gives a meaning, -1 for nothing). `skips` are (subject, label, label): code
    that a jump from the first label to the second can skip.
    """

    def __init__(self, isa: Isa) -> None:
        self.part_names: list[str] = []
        self.part_subjects: list[int] = []
        self.skips: list[tuple[int, Label, Label]] = []

    def begin(self, name: str, subject: int = -1) -> None:
        """A part of the code begins here."""
        self.part()
        self.part_names.append(name)
        self.part_subjects.append(subject)
