"""Blocks of machine code that a command reads from a CSV file."""

from __future__ import annotations

import csv
import sys
from typing import TextIO

from tramposim.errors import InputError

__all__ = ["read_blocks"]


def read_blocks(source: str) -> list[str]:
    """Column `hex` of a CSV file ('-': standard input); raises `InputError` if it has none."""
    try:
        if source == "-":
            return _column(sys.stdin, "stdin")
        with open(source, newline="", encoding="utf-8") as file:
            return _column(file, source)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", source) from error


def _column(file: TextIO, where: str) -> list[str]:
    reader = csv.DictReader(file)
    if "hex" not in (reader.fieldnames or ()):
        raise InputError("no column `hex` in the first line", where)
    return [row["hex"] or "" for row in reader]
