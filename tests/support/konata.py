"""A reader of Konata logs, written from the format's description (docs/kanata-log-format.md
of github.com/shioyadan/Konata), strict about what the description demands."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Op:
    """An instruction of a log: its stages as (name, begin, end) per lane, and its end."""

    thread: int
    retire_id: int | None = None
    text: str = ""
    detail: str = ""
    stages: list[tuple[str, int, int]] = field(default_factory=list)
    open: dict[tuple[str, str], int] = field(default_factory=dict)
    retired: int | None = None


def read_konata(text: str) -> dict[int, Op]:
    """Operations by id in the file; raises `ValueError` for anything malformed."""
    lines = text.splitlines()
    if lines[0] != "Kanata\t0004":
        raise ValueError("header")
    cycle = None
    ops: dict[int, Op] = {}
    for line in lines[1:]:
        command, *fields = line.split("\t")
        if command == "C=":
            cycle = int(fields[0])
            continue
        if cycle is None:
            raise ValueError("a command before C=")
        if command == "C":
            if int(fields[0]) <= 0:
                raise ValueError("time stands still")
            cycle += int(fields[0])
            continue
        number = int(fields[0])
        if command == "I":
            if number != len(ops) or number in ops:
                raise ValueError("ids must count up")
            ops[number] = Op(int(fields[2]))
            continue
        op = ops[number]
        if op.retired is not None:
            raise ValueError("a command after R")
        if command == "L":
            if fields[1] == "0":
                op.text += fields[2]
            else:
                op.detail += fields[2]
        elif command == "S":
            op.open[fields[1], fields[2]] = cycle
        elif command == "E":
            op.stages.append((fields[2], op.open.pop((fields[1], fields[2])), cycle))
        elif command == "R":
            op.retire_id, op.retired = int(fields[1]), cycle
            if fields[2] != "0" or op.open:
                raise ValueError("flushed, or a stage left open")
        else:
            raise ValueError(f"unknown command {command}")
    return ops
