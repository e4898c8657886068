"""Names of places in programs, for errors."""

from __future__ import annotations

from bisect import bisect_right

from tramposim.spec import Program

__all__ = ["place"]


def place(program: Program, index: int) -> str:
    """Where an instruction is: program, number and, if known, its source line."""
    lines = program.lines
    at = bisect_right(lines, index, key=lambda line: line[0]) - 1
    source = f" ({lines[at][1]})" if at >= 0 else ""
    return f"{program.name}: instruction {index}{source}"
