"""Captured cases rebuilt from their inputs: guest kernels with the recorded programs attached.

A record gives the kernel, the functions, the programs as they were loaded and the links in
order; everything is built again from these, at addresses of our own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, Pseudo, decode
from tramposim.capture.programs import ProgramContext, read_program
from tramposim.capture.records import (
    BootRecord,
    CaseRecord,
    LinkRecord,
    LinksRecord,
    ProgramRecord,
    decode_hex,
)
from tramposim.capture.trampolines import KINDS
from tramposim.errors import InputError, UnsupportedError
from tramposim.kernel.declaration import parse_prototype
from tramposim.kernel.prototype import model_prototype
from tramposim.machine.guestkernel import GuestKernel, GuestProgram
from tramposim.machine.testrun import TEST_FUNCTIONS, arguments_of_test_run
from tramposim.machine.traced import Cell, TargetProgram, TracedFunction
from tramposim.spec import Map, MapType, Program, Prototype, Relocation

__all__ = ["BLOCK", "RebuiltCase", "rebuild_case", "rebuild_links"]

BLOCK = 512
"""Bytes that a program has in `res`; program n's block begins at (n + 1) * BLOCK."""

MAX_PROGRAMS = 64

_MAPS = {
    "res": Map("res", MapType.ARRAY, 4, BLOCK * (MAX_PROGRAMS + 1), 1),
    "h": Map("h", MapType.HASH, 8, 8, 1024),
}
"""Maps of the recorded programs; records name them without their definition."""

_PROGRAM_ARRAY = Map("pa", MapType.PROG_ARRAY, 4, 4, 4)
"""Map of traced BPF programs, in which no program was put."""

_CONTEXT = (Cell(256),)
"""What a test run passes to a BPF program: its context, here of zeros."""

_LOAD_META = Insn(isa.LDX | isa.MEM | isa.DW, isa.Reg.R0, isa.Reg.R1, -8)
_SHIFT_RIGHT = isa.ALU64 | isa.RSH
_INLINED_KFUNCS = {63: "bpf_session_is_return", 8: "bpf_session_cookie"}
"""Inlined kfuncs by the bit of func_meta that they shift down."""

_RELOCATIONS = {kind.value: kind for kind in Relocation}


@dataclass(frozen=True, slots=True)
class RebuiltCase:
    """A guest kernel with the record's functions, in the order in which a test run calls them.

    `attached` are the functions that each program is attached to, by the program's name;
    `programs` are all loaded programs.
    """

    guest: GuestKernel
    functions: tuple[TracedFunction, ...]
    attached: dict[str, tuple[TracedFunction, ...]]
    programs: tuple[GuestProgram, ...] = ()


def rebuild_case(
    case: CaseRecord, context: ProgramContext, boot: BootRecord, where: str
) -> RebuiltCase:
    """The world of a `case` record: one traced function.

    Raises `InputError` for a malformed record, `UnsupportedError` for what cannot be built,
    `AttachError` if our kernel refuses what the recorded one accepted.
    """
    guest = GuestKernel(context.env.kernel)
    programs = _load(guest, case.id, case.progs, boot, where)
    links = [
        (_program_of(programs, case.id, link, where), link.cookie)
        for link in case.links
        if link.errno == 0
    ]
    prototype = _prototype(case, where)
    if case.tgt_prog is None:
        arguments = arguments_of_test_run(prototype)
        function = TracedFunction(guest, prototype, links, arguments=arguments)
    else:
        target = _target_program(case, case.tgt_prog, context, where)
        function = TracedFunction(guest, prototype, links, arguments=_CONTEXT, target=target)
    attached: dict[str, tuple[TracedFunction, ...]] = dict.fromkeys(programs, (function,))
    return RebuiltCase(guest, (function,), attached, tuple(programs.values()))


def rebuild_links(
    record: LinksRecord, context: ProgramContext, boot: BootRecord, where: str
) -> RebuiltCase:
    """The world of a `links` record: all functions that its links trace; raises likewise."""
    guest = GuestKernel(context.env.kernel)
    programs = _load(guest, record.id, record.progs, boot, where)
    attachments: dict[str, list[tuple[GuestProgram, int]]] = {}
    targets: dict[str, list[str]] = {name: [] for name in programs}
    for link in record.links:
        if link.errno:
            continue
        program = _program_of(programs, record.id, link, where)
        cookies = link.cookies if link.cookies is not None else [0] * len(link.targets)
        if len(cookies) != len(link.targets):
            raise InputError(f"{record.id}: {len(cookies)} cookies of {len(link.targets)}", where)
        for name, cookie in zip(link.targets, cookies, strict=True):
            attachments.setdefault(name, []).append((program, cookie))
            targets[link.prog].append(name)
    functions = {
        name: TracedFunction(guest, prototype, attachments.pop(name), arguments=arguments)
        for name, (prototype, arguments) in TEST_FUNCTIONS.items()
        if name in attachments
    }
    if attachments:
        raise UnsupportedError(f"a test run does not call {', '.join(attachments)}")
    attached = {name: tuple(functions[t] for t in names) for name, names in targets.items()}
    return RebuiltCase(guest, tuple(functions.values()), attached, tuple(programs.values()))


def _load(
    guest: GuestKernel,
    record_id: str,
    records: Iterable[ProgramRecord],
    boot: BootRecord,
    where: str,
) -> dict[str, GuestProgram]:
    """Every program that the recorded kernel loaded, by name."""
    kfuncs = {number: name for name, number in boot.btf_ids.items() if number is not None}
    programs: dict[str, GuestProgram] = {}
    for record in records:
        if len(programs) == MAX_PROGRAMS:
            raise InputError(f"{record_id}: more than {MAX_PROGRAMS} programs", where)
        if record.load_errno == 0:
            programs[record.name] = guest.load(_program(record, kfuncs, where))
    return programs


def _program_of(
    programs: dict[str, GuestProgram], record_id: str, link: LinkRecord, where: str
) -> GuestProgram:
    if link.prog not in programs:
        raise InputError(f"{record_id}: a link to unknown program {link.prog!r}", where)
    return programs[link.prog]


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
            calls.append((index, insn.imm))
    if any(number not in kfuncs for _, number in calls):
        kfuncs = _inlined_kfuncs(record, [number for _, number in calls], where)
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
        tuple((index, kfuncs[number]) for index, number in calls),
        sleepable=bool(int(record.opts.get("flags", 0)) & 0x10),
    )


def _inlined_kfuncs(record: ProgramRecord, numbers: list[int], where: str) -> dict[int, str]:
    """Names of called kfuncs by BTF id, told by what the verifier put in place of the calls.

    Only the session's two are inlined; `UnsupportedError` if there are others.
    """
    code = decode(decode_hex(record.xlated or "", f"{record.name}: xlated", where))
    shifts = [
        after.imm
        for insn, after in pairwise(code)
        if insn == _LOAD_META and after.opcode == _SHIFT_RIGHT and after.imm in _INLINED_KFUNCS
    ]
    if len(shifts) != len(numbers):
        raise UnsupportedError(f"{record.name}: kfuncs with BTF ids {numbers} have no names")
    return {number: _INLINED_KFUNCS[shift] for number, shift in zip(numbers, shifts, strict=True)}
