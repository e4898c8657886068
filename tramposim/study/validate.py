"""Validate: hold machine code against the rules, one result per image and program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from tramposim.errors import InputError, UnsupportedError
from tramposim.jit.trampoline import X86_SAFETY, TrampolineRequest
from tramposim.kernel.image import Skip
from tramposim.machine.rules.check import check_image
from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.differential import RUNS, check_program
from tramposim.machine.rules.probe import Probe
from tramposim.machine.rules.rule import Violation
from tramposim.machine.rules.subject import compiled_program
from tramposim.spec import Arch

__all__ = [
    "ImageSubject",
    "Settings",
    "Validated",
    "Validator",
    "chunks_of",
    "image_subject",
    "validate_capture",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """`seed` of everything random, `runs` of each program on random inputs."""

    seed: int = 0
    runs: int = RUNS


@dataclass(frozen=True, slots=True)
class Validated:
    """What checking one image or program found.

    `kind` is "image" or "program"; `ways` counts the ways or runs, `inconclusive` those that
    took too long to tell anything. `notes` are facts that are no violation. `unsupported` says
    why it could not be checked, if so.
    """

    where: str
    id: str
    kind: str
    subject: str
    arch: str
    violations: tuple[Violation, ...] = ()
    ways: int = 0
    inconclusive: int = 0
    notes: tuple[str, ...] = ()
    counterexample: str = ""
    unsupported: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was checked and nothing was found."""
        return not self.violations and not self.unsupported


@dataclass(frozen=True, slots=True)
class ImageSubject:
    """A captured image: what was asked for, its code without fill, its patchable places."""

    request: TrampolineRequest
    code: bytes
    skips: tuple[Skip, ...]


def image_subject(case: CaseRecord, context: CaseContext, where: str) -> ImageSubject:
    """The image of a `case` record; `InputError` if the record is malformed."""
    request = case_request(case, context, where)
    code = _code_of(case, request.kernel.arch, where)
    try:
        skips = tuple(Skip(skip["prog"], skip["nop"], skip["target"]) for skip in case.skips)
    except KeyError as error:
        raise InputError(f"{case.id}: a skip without {error.args[0]}", where) from None
    if any(not 0 <= place <= len(code) for s in skips for place in (s.nop, s.target)):
        raise InputError(f"{case.id}: a skip outside of the image", where)
    return ImageSubject(request, code, skips)


def chunks_of(code: bytes, lengths: Sequence[int], where: str) -> list[bytes]:
    """A program's code cut into its functions; `InputError` if the lengths are not its."""
    lengths = lengths or [len(code)]
    if sum(lengths) != len(code) or any(length <= 0 for length in lengths):
        raise InputError("func_lens do not add up to the code", where)
    chunks, start = [], 0
    for length in lengths:
        chunks.append(code[start : start + length])
        start += length
    return chunks


class Validator:
    """Checks images and programs, with one probe per architecture for all of them."""

    def __init__(self, settings: Settings = Settings()) -> None:
        self.settings = settings
        self._probes: dict[Arch, Probe] = {}

    def probe(self, arch: Arch) -> Probe:
        """The probe of an architecture, seeded anew so that no result depends on the order."""
        if arch not in self._probes:
            self._probes[arch] = Probe(arch, self.settings.seed)
        probe = self._probes[arch]
        probe.random.seed(self.settings.seed)
        return probe

    def image(
        self, subject: Callable[[], ImageSubject], arch: Arch, where: str, id: str, name: str
    ) -> Validated:
        """Check an image; `subject` may raise `UnsupportedError`, which is a result."""

        def check(probe: Probe) -> Validated:
            image = subject()
            report = check_image(probe, image.request, image.code, image.skips)
            notes = [f"return stack: {text}" for text in report.return_stack]
            notes += [
                f"the branch at {address:#x} goes one way only on all ways that were tried"
                for address in report.one_sided
            ]
            return Validated(
                where, id, "image", name, arch.value,
                report.violations, report.paths, 0, tuple(notes),
            )  # fmt: skip

        return self._guarded(check, arch, where, id, "image", name)

    def program(self, program: CompiledProgram, where: str, id: str, name: str) -> Validated:
        """Check a compiled program."""
        arch = program.arch

        def check(probe: Probe) -> Validated:
            report = check_program(probe, program, self.settings.seed, self.settings.runs)
            example = str(report.counterexample) if report.counterexample else ""
            return Validated(
                where, id, "program", name, arch.value,
                report.violations, report.runs, report.inconclusive, (), example,
            )  # fmt: skip

        return self._guarded(check, arch, where, id, "program", name)

    def case(self, case: CaseRecord, context: CaseContext, where: str) -> Validated:
        """Check the image of a `case` record."""
        subject = image_subject(case, context, where)
        arch = subject.request.kernel.arch
        return self.image(lambda: subject, arch, where, case.id, "image")

    def captured(
        self, captured: CapturedProgram, lengths: list[int], where: str, id: str, subject: str
    ) -> Validated:
        """Check a captured program; `lengths` are the bytes of each function's code."""
        chunks = chunks_of(captured.code, lengths, f"{where}: {id}")
        program = compiled_program(
            captured.env, captured.program.functions, captured.addresses, chunks
        )
        return self.program(program, where, id, subject)

    def _guarded(
        self,
        check: Callable[[Probe], Validated],
        arch: Arch,
        where: str,
        id: str,
        kind: str,
        subject: str,
    ) -> Validated:
        try:
            return check(self.probe(arch))
        except UnsupportedError as error:
            return Validated(where, id, kind, subject, arch.value, unsupported=str(error))


def _code_of(case: CaseRecord, arch: Arch, where: str) -> bytes:
    """An image's code without fill."""
    image = decode_hex(case.img or "", f"{case.id}: img", where)
    length = case.code_len
    if length is None:
        length = len(image)
        if arch is Arch.X86_64 and case.im_size is not None:
            length = case.im_size - X86_SAFETY
    if not 0 < length <= len(image):
        raise InputError(f"{case.id}: {length} bytes of code in {len(image)}", where)
    return image[:length]


def validate_capture(
    path: Path, only: str | None = None, settings: Settings = Settings()
) -> Iterator[Validated]:
    """A result per image and program of a capture file, in file order.

    `only` is the id of the one record to check. Raises `InputError` for an unreadable file, a
    malformed record or an unknown id, `UnsupportedError` for a kernel that is not known.
    """
    capture = Capture(path)
    validator = Validator(settings)
    cases: CaseContext | None = None
    programs: ProgramContext | None = None
    found = only is None
    for where, record in capture:
        name = str(getattr(record, "id", ""))
        if only is not None and name != only:
            continue
        found = True
        if isinstance(record, CaseRecord) and record.img is not None:
            if cases is None:
                cases = case_context(path, capture.boot)
            yield validator.case(record, cases, where)
        if programs is None:
            programs = program_context(path, capture.boot)
        yield from _programs(validator, record, programs, where, name)
        if only is not None:
            return
    if not found:
        raise InputError(f"no record with id {only!r}", str(path))


def _programs(
    validator: Validator, record: Record, context: ProgramContext, where: str, name: str
) -> Iterator[Validated]:
    for subject, program in programs_of(record):
        captured = read_program(program, context, f"{where}: {name}: {subject}")
        if captured is not None:
            yield validator.captured(captured, program.func_lens, where, name, subject)
