"""Observe: execute captured cases from their inputs and compare what the programs saw.

A case is rebuilt from values (kernel, prototype, programs as loaded, links in order) at
addresses of our own, and called once as BPF_PROG_TEST_RUN calls its target. The programs
store what they see into the array map `res`: a sequence counter, then a block per program.
Pointers and times differ from machine to machine and are compared by what they must be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Pseudo, decode
from tramposim.capture.programs import ProgramContext, program_context, read_program
from tramposim.capture.records import (
    BootRecord,
    Capture,
    CaseRecord,
    ProgramRecord,
    decode_hex,
)
from tramposim.capture.trampolines import KINDS
from tramposim.errors import InputError, TramposimError, UnsupportedError
from tramposim.kernel.declaration import parse_prototype
from tramposim.kernel.prototype import model_prototype
from tramposim.machine.testrun import test_run_arguments
from tramposim.machine.traced import Cell, TargetProgram, TracedWorld
from tramposim.spec import (
    Attachment,
    Map,
    MapType,
    Program,
    Prototype,
    Relocation,
)
from tramposim.study.verify import Check

__all__ = ["observe_capture"]

BLOCK = 512
"""Bytes that a program has in `res`; program n's block begins at (n + 1) * BLOCK."""

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

_PROGRAM_ARRAY = Map("pa", MapType.PROG_ARRAY, 4, 4, 4)
"""Map of traced BPF programs, in which no program was put."""

_CONTEXT = (Cell(256),)
"""What a test run passes to a BPF program: its context, here of zeros."""

_RELOCATIONS = {kind.value: kind for kind in Relocation}
_MAX_SLOTS = 12
_MAX_PROGRAMS = 64
_MAPS = {
    "res": Map("res", MapType.ARRAY, 4, BLOCK * (_MAX_PROGRAMS + 1), 1),
    "h": Map("h", MapType.HASH, 8, 8, 1024),
}
"""Maps of the recorded programs; records name them without their definition."""


def observe_capture(path: Path) -> Iterator[Check]:
    """A check per record of a capture file that has observed values, in file order.

    Raises `InputError` for an unreadable file or a malformed record, `UnsupportedError` for a
    kernel that is not known.
    """
    capture = Capture(path)
    context: ProgramContext | None = None
    for where, record in capture:
        if isinstance(record, CaseRecord) and any(program.observed for program in record.progs):
            if context is None:
                context = program_context(path, capture.boot)
            problem = _check_case(record, context, capture.boot, where)
            yield Check(path, record.id, "observed", problem)


def _check_case(case: CaseRecord, context: ProgramContext, boot: BootRecord, where: str) -> str:
    try:
        world = _world(case, context, boot, where)
        execution = world.run(1, trace=False)
    except InputError as error:
        raise error if error.where else InputError(f"{case.id}: {error}", where) from None
    except TramposimError as error:
        return f"not executed: {error}"
    del execution
    return "; ".join(_differences(case, world, where))


def _world(case: CaseRecord, context: ProgramContext, boot: BootRecord, where: str) -> TracedWorld:
    kernel = context.env.kernel
    if len(case.progs) > _MAX_PROGRAMS:
        raise InputError(f"{case.id}: {len(case.progs)} programs", where)
    prototype = _prototype(case, where)
    kfuncs = {number: name for name, number in boot.btf_ids.items() if number is not None}
    programs = {
        program.name: _program(program, kfuncs, where)
        for program in case.progs
        if program.load_errno == 0
    }
    attachments = []
    for link in case.links:
        if link.errno == 0:
            if link.prog not in programs:
                raise InputError(f"{case.id}: a link to unknown program {link.prog!r}", where)
            attachments.append(Attachment(programs[link.prog], link.cookie))
    if case.tgt_prog is not None:
        target = _target_program(case, case.tgt_prog, context, where)
        return TracedWorld(kernel, prototype, attachments, arguments=_CONTEXT, target=target)
    return TracedWorld(kernel, prototype, attachments, arguments=test_run_arguments(prototype))


def _target_program(
    case: CaseRecord, record: ProgramRecord, context: ProgramContext, where: str
) -> TargetProgram:
    """The BPF program that a case traces, with its (empty) map of programs.

    Raises `UnsupportedError` if it calls functions: their offsets hold in its kernel only.
    """
    captured = read_program(record, context, where)
    if captured is None:
        raise InputError(f"{case.id}: a target program that was not compiled", where)
    for function in captured.program.functions:
        if any(insn.opcode == isa.JMP | isa.CALL for insn in decode(function.insns)):
            raise UnsupportedError("its target program calls functions of its kernel")
    maps = tuple(
        (_PROGRAM_ARRAY, placed["addr"])
        for placed in case.maps
        if isinstance(placed, dict)
        and placed.get("n") == _PROGRAM_ARRAY.name
        and isinstance(placed.get("addr"), int)
    )
    return TargetProgram(replace(captured.program, name=case.target), maps)


def _prototype(case: CaseRecord, where: str) -> Prototype:
    """From the function model; cases whose first link failed have only the declaration."""
    if case.model is None:
        return parse_prototype(case.proto, where)
    model, count = case.model, case.model.nr_args
    return model_prototype(
        case.target, model.ret_size, model.ret_flags,
        model.arg_size[:count], model.arg_flags[:count],
    )  # fmt: skip


def _program(record: ProgramRecord, kfuncs: dict[int, str], where: str) -> Program:
    if record.kind not in KINDS:
        raise UnsupportedError(f"{record.name}: programs of kind {record.kind!r}")
    code = decode_hex(record.insns, f"{record.name}: insns", where)
    calls = []
    for index, insn in enumerate(decode(code)):
        if insn.opcode == isa.JMP | isa.CALL and insn.src == Pseudo.KFUNC:
            if insn.imm not in kfuncs:
                raise UnsupportedError(f"{record.name}: kfunc with BTF id {insn.imm}")
            calls.append((index, kfuncs[insn.imm]))
    if any(kind not in _RELOCATIONS for _, kind, _ in record.relocs):
        raise InputError(f"{record.name}: a relocation of unknown kind", where)
    relocations = tuple((index, _RELOCATIONS[kind], name) for index, kind, name in record.relocs)
    names = dict.fromkeys(name for _, _, name in relocations)
    for name in names:
        if name not in _MAPS:
            raise UnsupportedError(f"{record.name}: map {name!r}, whose definition is not known")
    return Program(
        record.name,
        KINDS[record.kind],
        code,
        tuple(_MAPS[name] for name in names),
        relocations,
        tuple(calls),
        sleepable=bool(int(record.opts.get("flags", 0)) & 0x10),
    )


def _differences(case: CaseRecord, world: TracedWorld, where: str) -> Iterator[str]:
    """One text per field that differs."""
    res = world.array("res")[0] if "res" in world.guest.maps else b""
    for number, program in enumerate(case.progs):
        if not program.observed:
            continue
        block = res[BLOCK * (number + 1) : BLOCK * (number + 2)]
        if len(block) < BLOCK:
            yield f"{program.name} stores nothing"
            continue
        for name, ours, theirs in _compared(case, program, world, block, where):
            if ours != theirs:
                yield f"{program.name}.{name} is {ours:#x}, the kernel's {theirs:#x}"


def _compared(
    case: CaseRecord, program: ProgramRecord, world: TracedWorld, block: bytes, where: str
) -> Iterator[tuple[str, int, int]]:
    """(field, our value, what it should be) of everything that can be reproduced."""
    observed = program.observed or {}

    def word(offset: int) -> int:
        return int.from_bytes(block[offset : offset + 8], "little")

    for name, offset in FIELDS.items():
        theirs = _number(observed, name, where)
        if name == "func_ip" and theirs:
            theirs += world.target.address - (case.func_addr or 0)
        elif name == "func_arg" and theirs:
            theirs = world.arguments[0]
        yield name, word(offset), theirs
    for name, offset in SLOTS.items():
        slots = observed.get(name)
        if not isinstance(slots, list) or len(slots) > _MAX_SLOTS:
            raise InputError(f"{case.id}: {program.name} without {name}", where)
        if not all(isinstance(value, int) for value in slots):
            raise InputError(f"{case.id}: {program.name}: {name} are no numbers", where)
        for slot, theirs in enumerate(slots):
            if theirs and slot < len(world.arguments) and world.pointers[slot]:
                theirs = world.arguments[slot]
            yield f"{name}[{slot}]", word(offset + 8 * slot), theirs


def _number(observed: dict[str, Any], name: str, where: str) -> int:
    value = observed.get(name, 0)
    if not isinstance(value, int):
        raise InputError(f"observed {name} is no number", where)
    return value
