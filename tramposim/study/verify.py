"""Verify: rebuild captured images and programs and compare every byte with the kernel's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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

__all__ = ["Check", "first_difference", "verify_capture"]

SHOWN = 12
"""Bytes shown from the first difference on, and half as many before it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison: `problem` is empty if it passed."""

    path: Path
    id: str
    subject: str
    problem: str = ""

    @property
    def line(self) -> str:
        """The failure as one line: file, id, what was compared, what differs where."""
        return f"{self.path}: {self.id}: {self.subject}: {self.problem}"


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


def _check_program(captured: CapturedProgram) -> str:
    try:
        built = compile_program(captured.env, captured.program, captured.addresses)
    except TramposimError as error:
        return f"not built: {error}"
    return first_difference(built.code, captured.code)


def _check_image(case: CaseRecord, context: CaseContext, where: str) -> str:
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


def first_difference(built: bytes, captured: bytes) -> str:
    """Where two byte strings first differ, with both around it; empty if they are equal."""
    if built == captured:
        return ""
    common = min(len(built), len(captured))
    offset = next((i for i in range(common) if built[i] != captured[i]), common)
    window = slice(max(0, offset - SHOWN // 2), offset + SHOWN)
    return (
        f"offset {offset:#x}: built {built[window].hex() or '(end)'} "
        f"captured {captured[window].hex() or '(end)'}; "
        f"{len(built)} and {len(captured)} bytes"
    )
