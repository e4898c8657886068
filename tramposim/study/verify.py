"""Verify: rebuild captured images and programs and compare every byte with the kernel's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tramposim import __version__
from tramposim.capture.programs import (
    CapturedProgram,
    ProgramContext,
    program_context,
    programs_of,
    read_program,
)
from tramposim.capture.records import Capture, CaseRecord, Record, decode_hex
from tramposim.capture.trampolines import CaseContext, case_context, case_request
from tramposim.errors import InputError, TramposimError
from tramposim.jit.program import compile_program
from tramposim.jit.trampoline import build_trampoline
from tramposim.study.records import Records, Value

__all__ = ["Check", "Difference", "checks_records", "first_difference", "verify_capture"]

SHOWN = 12
"""Bytes shown from the first difference on, and half as many before it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two byte strings first differ: `built` and `captured` are bytes from a little before
    `offset` on, the sizes those of the whole strings."""

    offset: int
    built: bytes
    captured: bytes
    built_size: int
    captured_size: int

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"offset {self.offset:#x}: built {self.built.hex() or '(end)'} "
            f"captured {self.captured.hex() or '(end)'}; "
            f"{self.built_size} and {self.captured_size} bytes"
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: `problem` is None if it passed."""

    path: Path
    id: str
    subject: str
    problem: str | Difference | None = None

    @property
    def line(self) -> str:
        """The failure as one line: file, id, what was compared, what differs where."""
        return f"{self.path}: {self.id}: {self.subject}: {self.problem}"

    @property
    def row(self) -> dict[str, Value]:
        """The check as a row of a record; bytes are in hex."""
        row: dict[str, Value] = {
            "file": str(self.path),
            "id": self.id,
            "subject": self.subject,
            "passed": not self.problem,
        }
        if self.problem:
            row["problem"] = str(self.problem)
        if isinstance(self.problem, Difference):
            row |= {
                "offset_bytes": self.problem.offset,
                "built": self.problem.built.hex(),
                "captured": self.problem.captured.hex(),
                "built_bytes": self.problem.built_size,
                "captured_bytes": self.problem.captured_size,
            }
        return row


def checks_records(checks: Iterable[Check], observed: bool) -> Records:
    """A row per check; `observed`: programs were executed instead of bytes compared."""
    rows = tuple(check.row for check in checks)
    passed = sum(row["passed"] is True for row in rows)
    meta = {
        "command": "verify",
        "version": __version__,
        "compared": "what programs saw" if observed else "bytes",
        "passed": passed,
        "failed": len(rows) - passed,
    }
    return Records(meta, rows)


def verify_capture(path: Path) -> Iterator[Check]:
    """A check per image and per program of a capture file, in file order.

    Raises `InputError` for an unreadable file or a malformed record, `UnsupportedError` for a
    kernel that is not known.
    """
    capture = Capture(path)
    context: CaseContext | None = None
    programs: ProgramContext | None = None
    for where, record in capture:
        if isinstance(record, CaseRecord) and record.img is not None:
            if context is None:
                context = case_context(path, capture.boot)
            yield Check(path, record.id, "image", _check_image(record, context, where))
        if programs is None:
            programs = program_context(path, capture.boot)
        yield from _check_programs(path, record, programs, where)


def _check_programs(
    path: Path, record: Record, context: ProgramContext, where: str
) -> Iterator[Check]:
    for subject, program in programs_of(record):
        name = getattr(record, "id", "")
        captured = read_program(program, context, f"{where}: {name}: {subject}")
        if captured is not None:
            yield Check(path, name, subject, _check_program(captured))


def _check_program(captured: CapturedProgram) -> str | Difference | None:
    try:
        built = compile_program(captured.env, captured.program, captured.addresses)
    except TramposimError as error:
        return f"not built: {error}"
    return first_difference(built.code, captured.code)


def _check_image(case: CaseRecord, context: CaseContext, where: str) -> str | Difference | None:
    captured = decode_hex(case.img or "", f"{case.id}: img", where)
    request = case_request(case, context, where)
    if case.code_len is not None and not 0 <= case.code_len <= len(captured):
        raise InputError(f"{case.id}: code_len {case.code_len} of {len(captured)} bytes", where)
    try:
        image = build_trampoline(request)
    except TramposimError as error:
        return f"not built: {error}"
    if case.im_size is not None:
        # The whole allocation is known, fill included.
        return first_difference(image.content, captured[: case.im_size])
    if case.code_len is not None:
        return first_difference(image.code, captured[: case.code_len])
    return first_difference(image.content, captured)


def first_difference(built: bytes, captured: bytes) -> Difference | None:
    """Where two byte strings first differ, with both around it; None if they are equal."""
    if built == captured:
        return None
    common = min(len(built), len(captured))
    offset = next((i for i in range(common) if built[i] != captured[i]), common)
    window = slice(max(0, offset - SHOWN // 2), offset + SHOWN)
    return Difference(offset, built[window], captured[window], len(built), len(captured))
