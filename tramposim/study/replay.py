"""Replay: captured images executed as they are, timed on a core, a row per record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import TypeGuard

from tramposim import __version__
from tramposim.capture.records import (
    BootRecord,
    Capture,
    CaseRecord,
    FuncRecord,
    LinksRecord,
    ProgramRecord,
    ProgRecord,
    Record,
)
from tramposim.capture.runtime import find_runtime, read_runtime
from tramposim.errors import GuestFault, InputError, TramposimError, UnsupportedError
from tramposim.machine.replay import Replayed, ReplayedImage, ReplayKernel
from tramposim.machine.trace import Trace
from tramposim.spec import Arch
from tramposim.study.captured import replayed_image, replayed_program, stand_in
from tramposim.study.functions import compare_functions
from tramposim.study.measured import Measured
from tramposim.study.records import Records, Value
from tramposim.study.subject import DEFAULT_CORES
from tramposim.timing import Core, load_core, time_trace

__all__ = ["ReplayRequest", "Replays", "replay", "replay_trace", "summary_of"]

CALLS = 16
"""Calls in a trace; the core model repeats them until its state repeats."""

_Executable = CaseRecord | ProgRecord

CAPTURED, STAND_IN = "captured", "stand-in"
"""What the traced function was: its own code, or a function that returns at once because its
code is captured in part only."""


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Capture files and what to do with them.

    `ids` (None: all) select records; `measured` are cycles on silicon by id; `runtime` is the
    file with the kernel's functions, by default found from the capture. `core_of` gives the
    core for an architecture.
    """

    captures: tuple[Path, ...]
    core_of: Callable[[str], Core]
    ids: Collection[str] | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    runtime: Path | None = None


@dataclass(frozen=True, slots=True)
class Replays:
    """The rows, how many records hold no image, and the worst exit code of a row's error."""

    records: Records
    without_image: int
    exit_code: int


def replay(request: ReplayRequest, step: Callable[[str], None] = lambda name: None) -> Replays:
    """A row per image of the captures, in file order; a row's `error` says why it has no cycles.

    Raises `InputError` for files that cannot be read, ids that no capture has, or a capture
    whose kernel's functions are not found; `UnsupportedError` for an unknown kernel.
    """
    rows: list[Mapping[str, Value]] = []
    seen: set[str] = set()
    without_image = exit_code = 0
    for path in request.captures:
        file = _File(path, request)
        for where, record in file.capture:
            file.note(record)
            name = getattr(record, "id", None)
            if not _executable(record):
                without_image += name is not None and file.wanted(name)
                continue
            if not file.wanted(record.id):
                continue
            seen.add(record.id)
            step(record.id)
            row, code = file.row(record, where)
            rows.append(row)
            exit_code = max(exit_code, code)
        if not file.has_cases:
            for row, code in file.function_rows(step):
                seen.add(str(row["id"]))
                rows.append(row)
                exit_code = max(exit_code, code)
    missing = [name for name in request.ids or () if name not in seen]
    if missing:
        files = ", ".join(str(path) for path in request.captures)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"no image of record {missing[0]!r}{more} in {files}", "--ids")
    return Replays(Records(_meta(), tuple(rows)), without_image, exit_code)


def replay_trace(path: Path, record_id: str, calls: int = CALLS) -> Trace:
    """The trace of `calls` calls of one record's image; raises as `replay` does, and
    `GuestFault` if it goes astray."""
    request = ReplayRequest((path,), lambda arch: load_core(DEFAULT_CORES[Arch(arch)]))
    file = _File(path, request)
    for where, record in file.capture:
        file.note(record)
        if _executable(record) and record.id == record_id:
            replayed, _ = _execute(file.kernel, file.image(record, where), calls)
            assert replayed.execution.trace is not None
            return replayed.execution.trace
    raise InputError(f"no record with id {record_id!r}", str(path))


def _meta() -> dict[str, object]:
    return {
        "command": "replay",
        "version": __version__,
        "basis": "core model, hot, captured code in the calling loop of the hardware measurements",
        "calls": CALLS,
    }


class _File:
    """One capture with its kernel, which is booted when the first image needs it."""

    def __init__(self, path: Path, request: ReplayRequest) -> None:
        self.path = path
        self.request = request
        self.capture = Capture(path)
        self.has_cases = False
        self._has_functions = False
        self._links: dict[str, LinksRecord] = {}
        self._kernel: ReplayKernel | None = None

    def note(self, record: Record) -> None:
        """Remember what later records, or rows, build on."""
        self.has_cases |= not isinstance(record, FuncRecord)
        self._has_functions |= isinstance(record, FuncRecord)
        if isinstance(record, LinksRecord):
            self._links[record.id] = record

    def wanted(self, record_id: str) -> bool:
        return self.request.ids is None or record_id in self.request.ids

    @property
    def kernel(self) -> ReplayKernel:
        if self._kernel is None:
            boot = self.capture.boot
            self._kernel = ReplayKernel(
                read_runtime(find_runtime(self.path, boot, self.request.runtime), boot)
            )
        return self._kernel

    def row(self, record: _Executable, where: str) -> tuple[Mapping[str, Value], int]:
        """The record's row, and the exit code of its error."""
        boot = self.capture.boot
        core = self.request.core_of(boot.arch)
        row = _origin(boot, self.path, core) | {"id": record.id}
        if isinstance(record, CaseRecord):
            row["target"] = record.target
        try:
            image = self.image(record, where)
            row["image_bytes"] = len(image.code)
            replayed, function = _execute(self.kernel, image, CALLS)
            if image.called != image.address:
                row["function"] = function
            row |= _timed(replayed, core)
        except InputError as error:
            raise error if error.where else InputError(f"{record.id}: {error}", where) from None
        except TramposimError as error:
            row["error"] = str(error)
            return row, error.exit_code
        if isinstance(record, ProgRecord):
            row["first_return"] = replayed.first_return & 0xFFFFFFFF
            row["recorded_return"] = _recorded_return(record)
        row |= _compared(row, self.request.measured.get(record.id))
        return row, 0

    def image(self, record: _Executable, where: str) -> ReplayedImage:
        """What a record's image needs; raises `InputError` for a malformed record."""
        if isinstance(record, ProgRecord):
            return replayed_program(record, self.capture.boot, where)
        return replayed_image(record, self._programs(record), self.kernel.captured, where)

    def function_rows(
        self, step: Callable[[str], None]
    ) -> Iterator[tuple[Mapping[str, Value], int]]:
        """Rows of the kernel's functions themselves, for a file of nothing else."""
        if not self._has_functions:
            return
        core = self.request.core_of(self.capture.boot.arch)
        for row, code in compare_functions(self.kernel, core):
            if self.wanted(str(row["id"])):
                step(str(row["id"]))
                yield {**_origin(self.capture.boot, self.path, core), **row}, code

    def _programs(self, case: CaseRecord) -> Sequence[ProgramRecord]:
        """The case's programs; what tracing_multi links share is in their record."""
        links = self._links.get(case.links_id or "")
        if links is None:
            return case.progs
        shared = {program.name: program for program in links.progs}
        return [
            program if program.jited else shared.get(program.name, program)
            for program in (case.progs or links.progs)
        ]


def _executable(record: Record) -> TypeGuard[_Executable]:
    """Whether a record holds code to execute: an image, or a program that was compiled."""
    if isinstance(record, CaseRecord):
        return record.img is not None
    return isinstance(record, ProgRecord) and bool(record.jited)


def _recorded_return(record: ProgRecord) -> int | None:
    """What the program returned in the captured kernel's own test run, if there was one."""
    run = record.run or {}
    value = run.get("retval")
    return value if run.get("errno") == 0 and isinstance(value, int) else None


def _origin(boot: BootRecord, path: Path, core: Core) -> dict[str, Value]:
    return {
        "id": "",
        "file": path.name,
        "arch": boot.arch,
        "kernel": boot.kernel,
        "variant": boot.variant,
        "core": core.name,
        "core_error": core.error,
    }


def _execute(kernel: ReplayKernel, image: ReplayedImage, calls: int) -> tuple[Replayed, str]:
    """Execute; if the traced function leaves what is captured of it, a stand-in takes its place."""
    try:
        return kernel.execute(image, calls), CAPTURED
    except (GuestFault, UnsupportedError):
        if image.complete:
            raise
    return kernel.execute(stand_in(image, kernel.captured), calls), STAND_IN


def _timed(replayed: Replayed, core: Core) -> dict[str, Value]:
    trace = replayed.execution.trace
    assert trace is not None
    timing = time_trace(trace, core)
    events = timing.events
    row: dict[str, Value] = {
        "cycles_per_call": round(timing.cycles_per_call, 2),
        "cycles_low": round(timing.cycles_low, 2),
        "cycles_high": round(timing.cycles_high, 2),
        "instructions_per_call": round(timing.instructions_per_call, 2),
        "uops_per_call": round(timing.uops_per_call, 2),
        "return_mispredicts_per_call": round(events["return_mispredicts"], 2),
        "branch_mispredicts_per_call": round(
            events["conditional_mispredicts"] + events["indirect_mispredicts"], 2
        ),
        "steady": timing.steady,
        "data_pages": len(replayed.data_pages),
        "data_page_addresses": " ".join(f"{page:#x}" for page in replayed.data_pages),
        "not_captured": " ".join(replayed.substitutes),
    }
    return row


def _compared(row: Mapping[str, Value], measured: Measured | None) -> dict[str, Value]:
    if measured is None:
        return {}
    cycles = row["cycles_per_call"]
    assert isinstance(cycles, float)
    compared: dict[str, Value] = {"measured_cycles_per_call": measured.cycles}
    if measured.instructions:
        compared["measured_instructions_per_call"] = measured.instructions
    compared["error_percent"] = round(100 * (cycles / measured.cycles - 1), 2)
    return compared


def summary_of(rows: Sequence[Mapping[str, Value]]) -> Mapping[str, Value] | None:
    """Mean, median and worst of the absolute errors, and the worst row; None without any."""
    errors: list[tuple[float, str]] = [
        (abs(value), str(row["id"]))
        for row in rows
        if isinstance(value := row.get("error_percent"), float)
    ]
    if not errors:
        return None
    worst, name = max(errors)
    sizes = [size for size, _ in errors]
    return {
        "rows": len(errors),
        "mean_error_percent": round(mean(sizes), 2),
        "median_error_percent": round(median(sizes), 2),
        "worst_error_percent": worst,
        "worst_id": name,
    }
