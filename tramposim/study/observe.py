"""Observe: execute captured cases from their inputs and compare what the programs saw.

A case is rebuilt from values and its functions are called once, as BPF_PROG_TEST_RUN calls
them; what was built must keep the rules of the calling convention as well. The programs store
what they see into the array map `res`: a sequence counter, then a block per program.
Pointers and times differ from machine to machine and are compared by what they must be.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tramposim.capture.programs import ProgramContext, program_context
from tramposim.capture.records import (
    BootRecord,
    Capture,
    CaseRecord,
    LinksRecord,
    ProgramRecord,
)
from tramposim.errors import InputError, TramposimError
from tramposim.machine.rules.check import check_image
from tramposim.machine.rules.differential import check_program
from tramposim.machine.rules.probe import Probe
from tramposim.machine.rules.subject import guest_subject
from tramposim.machine.traced import TracedFunction
from tramposim.spec import Arch
from tramposim.study.rebuild import BLOCK, RebuiltCase, rebuild_case, rebuild_links
from tramposim.study.verify import Check

__all__ = ["observe_capture"]

FIELDS = {
    "hits": 0,
    "entry_hits": 8,
    "exit_hits": 16,
    "entry_seq": 24,
    "exit_seq": 32,
    "func_ip": 40,
    "attach_cookie": 48,
    "arg_cnt": 56,
    "entry_ret": 160,
    "cookie_at_entry": 168,
    "cookie_at_exit": 176,
    "exit_ret": 288,
    "func_arg": 304,
    "func_ret": 312,
    "func_ret_rc": 320,
    "func_arg_rc": 368,
    "is_return_raw": 400,
}
"""Offsets of 64-bit fields in a program's block."""

SLOTS = {"entry_slots": 64, "exit_slots": 192}
"""Offsets of the twelve context slots that a program saw."""

_MAX_SLOTS = 12
_RUNS = 2
"""Runs of each program on random inputs."""
_KERNEL = 1 << 63
"""Addresses from here on are the kernel's."""


def observe_capture(path: Path) -> Iterator[Check]:
    """A check per record of a capture file that has observed values, in file order.

    Raises `InputError` for an unreadable file or a malformed record, `UnsupportedError` for a
    kernel that is not known.
    """
    capture = Capture(path)
    context: ProgramContext | None = None
    for where, record in capture:
        if not isinstance(record, CaseRecord | LinksRecord):
            continue
        if any(program.observed for program in record.progs):
            if context is None:
                context = program_context(path, capture.boot)
            problem = _check(record, context, capture.boot, where)
            yield Check(path, record.id, "observed", problem or None)


def _check(
    record: CaseRecord | LinksRecord, context: ProgramContext, boot: BootRecord, where: str
) -> str:
    try:
        if isinstance(record, CaseRecord):
            rebuilt = rebuild_case(record, context, boot, where)
        else:
            rebuilt = rebuild_links(record, context, boot, where)
        for function in rebuilt.functions:
            function.run(1, trace=False)
    except InputError as error:
        raise error if error.where else InputError(f"{record.id}: {error}", where) from None
    except TramposimError as error:
        return f"not executed: {error}"
    return "; ".join((*_differences(record, rebuilt, where), *_broken_rules(rebuilt)))


def _broken_rules(rebuilt: RebuiltCase) -> Iterator[str]:
    """What of the executed code breaks the rules: its images on all ways, its programs."""
    probe = _probe(rebuilt.guest.kernel.arch)
    for function in rebuilt.functions:
        if function.request is not None and function.image is not None:
            image = function.image
            report = check_image(probe, function.request, image.code, image.skips)
            yield from (f"image: {violation}" for violation in report.violations)
    for program in rebuilt.programs:
        subject = guest_subject(rebuilt.guest, program)
        found = check_program(probe, subject, runs=_RUNS, minimise=False).violations
        yield from (f"program {program.loaded.name}: {violation}" for violation in found)


@cache
def _probe(arch: Arch) -> Probe:
    return Probe(arch)


def _differences(
    record: CaseRecord | LinksRecord, rebuilt: RebuiltCase, where: str
) -> Iterator[str]:
    """One text per field that differs."""
    res = rebuilt.guest.array("res")[0] if "res" in rebuilt.guest.maps else b""
    for number, program in enumerate(record.progs):
        if not program.observed:
            continue
        block = res[BLOCK * (number + 1) : BLOCK * (number + 2)]
        if len(block) < BLOCK:
            yield f"{program.name} stores nothing"
            continue
        functions = rebuilt.attached.get(program.name, ())
        for name, ours, theirs in _compared(program, functions, block, where):
            if ours not in theirs:
                shown = " or ".join(f"{value:#x}" for value in sorted(theirs))
                yield f"{program.name}.{name} is {ours:#x}, the kernel's {shown}"


def _compared(
    program: ProgramRecord, functions: tuple[TracedFunction, ...], block: bytes, where: str
) -> Iterator[tuple[str, int, set[int]]]:
    """(field, our value, what it may be) of everything that can be reproduced.

    Addresses of the function and of the test run's variables are those of our kernel.
    """
    observed = program.observed or {}

    def word(offset: int) -> int:
        return int.from_bytes(block[offset : offset + 8], "little")

    def argument(slot: int, theirs: int) -> set[int]:
        ours = {f.arguments[slot] for f in functions if slot < len(f.pointers) and f.pointers[slot]}
        return ours if theirs >= _KERNEL and ours else {theirs}

    for name, offset in FIELDS.items():
        theirs = observed.get(name, 0)
        if not isinstance(theirs, int):
            raise InputError(f"observed {name} is no number", where)
        expected = {theirs}
        if name == "func_ip" and theirs:
            expected = {function.target.address for function in functions}
        elif name == "func_arg":
            expected = argument(0, theirs)
        yield name, word(offset), expected
    for name, offset in SLOTS.items():
        slots = observed.get(name)
        if not isinstance(slots, list) or len(slots) > _MAX_SLOTS:
            raise InputError(f"{program.name} without {name}", where)
        if not all(isinstance(value, int) for value in slots):
            raise InputError(f"{program.name}: {name} are no numbers", where)
        for slot, theirs in enumerate(slots):
            yield f"{name}[{slot}]", word(offset + 8 * slot), argument(slot, theirs)
