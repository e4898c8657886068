"""Captured programs: a record to what the kernel's JIT was given, and what it made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, decode
from tramposim.bpf.loaded import LoadedFunction, LoadedProgram
from tramposim.capture.arena import arena_addresses
from tramposim.capture.boot import boot_kernel, boot_symbols, padded_functions
from tramposim.capture.records import (
    BootRecord,
    CaseRecord,
    FunctionInput,
    LinksRecord,
    ProgramRecord,
    ProgRecord,
    Record,
    decode_hex,
)
from tramposim.capture.trampolines import KINDS
from tramposim.errors import InputError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.versions import jit_rules
from tramposim.kernel.versions import PADDED_FUNCTIONS
from tramposim.spec import Arch, ProgKind, Returns

__all__ = ["CapturedProgram", "ProgramContext", "program_context", "programs_of", "read_program"]

MAX_FUNCTIONS = 256
"""Most functions of a program (kernel: BPF_MAX_SUBPROGS)."""
MAX_STACK = 1 << 12
"""Deepest stack of a function, in bytes (kernel: MAX_BPF_STACK, and the verifier's counters)."""

_KINDS = {**KINDS, "xdp": ProgKind.XDP, "tc": ProgKind.TC}


@dataclass(frozen=True, slots=True)
class CapturedProgram:
    """A program that a kernel compiled: the JIT's input, its environment, and the code."""

    program: LoadedProgram
    env: JitEnvironment
    addresses: tuple[int, ...]
    code: bytes


@dataclass(frozen=True, slots=True)
class ProgramContext:
    """What all programs of a file share; `tail_calls` are programs by map address and index."""

    env: JitEnvironment
    tail_calls: Mapping[int, tuple[int | None, ...]]


def program_context(path: Path, boot: BootRecord) -> ProgramContext:
    """Context of the programs of the capture at `path`, whose boot record is `boot`."""
    kernel = boot_kernel(boot, str(path))
    symbols = boot_symbols(boot)
    padded: frozenset[str] = frozenset()
    if kernel.returns is Returns.STUFFING:
        padded = padded_functions(path, boot, PADDED_FUNCTIONS)
    known = jit_rules(kernel.version).offsets
    env = JitEnvironment(
        kernel=kernel,
        symbols=symbols,
        offsets=replace(
            known,
            map_max_entries=boot.offsets.get("bpf_map_max_entries") or known.map_max_entries,
            array_ptrs=boot.offsets.get("bpf_array_ptrs") or known.array_ptrs,
            prog_bpf_func=boot.offsets.get("bpf_prog_bpf_func") or known.prog_bpf_func,
        ),
        accounted=frozenset(symbols[name] for name in padded if name in symbols),
    )
    try:
        return ProgramContext(env, _tail_calls(boot))
    except (KeyError, TypeError) as error:
        raise InputError(f"boot record: malformed tail call maps: {error!r}", str(path)) from None


def _tail_calls(boot: BootRecord) -> dict[int, tuple[int | None, ...]]:
    targets = {name: info["bpf_func"] for name, info in boot.tail_call_progs.items()}
    return {
        boot.maps[name]["addr"]: tuple(targets[prog] if prog else None for prog in contents)
        for name, contents in boot.prog_array_contents.items()
        if name in boot.maps
    }


def programs_of(record: Record) -> Iterator[tuple[str, ProgramRecord | ProgRecord]]:
    """The programs that a record holds, each with a name for messages."""
    if isinstance(record, ProgRecord):
        yield "program", record
    elif isinstance(record, CaseRecord | LinksRecord):
        for number, program in enumerate(record.progs):
            yield f"program {program.name or number}", program
        if isinstance(record, CaseRecord) and record.tgt_prog is not None:
            yield "target program", record.tgt_prog


def read_program(
    record: ProgramRecord | ProgRecord, context: ProgramContext, where: str
) -> CapturedProgram | None:
    """What a record says of one program; None if the kernel did not compile it.

    Raises `InputError` if the record lacks what it should hold, or holds what no kernel has.
    """
    if not record.jited or record.main is None or not record.main.insnsi:
        return None
    code = decode_hex(record.jited, "jited", where)
    inputs = record.funcs or [record.main]
    if len(inputs) != len(record.ksyms) or len(inputs) > MAX_FUNCTIONS:
        raise InputError(f"{len(inputs)} functions, {len(record.ksyms)} ksyms", where)
    if not all(0 <= address < 1 << 64 for address in (*record.ksyms, record.main.p)):
        raise InputError("an address that is no 64-bit value", where)
    arch = context.env.kernel.arch
    functions = tuple(_function(one, arch, context, code, where) for one in inputs)
    word = record.kind if isinstance(record, ProgramRecord) else record.ptype
    fields = record.main.prog_fields
    program = LoadedProgram(
        name=record.id if isinstance(record, ProgRecord) else record.name,
        kind=_KINDS.get(word, ProgKind.SOCKET),
        functions=functions,
        sleepable=bool(fields.get("sleepable")),
        uses_session_cookie=bool(fields.get("call_session_cookie")),
        uses_func_ip=bool(fields.get("call_get_func_ip")),
    )
    env = context.env
    if arch is Arch.X86_64 and record.main.p >> 47 != (1 << 17) - 1:
        # Only with five-level paging do kernel objects lie below the upper 128 TiB.
        env = replace(env, five_level_paging=True)
    return CapturedProgram(program, env, tuple(record.ksyms), code)


def _function(
    given: FunctionInput, arch: Arch, context: ProgramContext, code: bytes, where: str
) -> LoadedFunction:
    insns = decode_hex(given.insnsi, "insnsi", where)
    aux = given.aux_fields
    stack_depth = _number(aux, "stack_depth", where, MAX_STACK)
    arena = arena_user = 0
    if aux.get("arena"):
        arena, arena_user = arena_addresses(arch, code)
    return LoadedFunction(
        insns=insns,
        stack_depth=stack_depth,
        tail_call_reachable=bool(aux.get("tail_call_reachable")),
        exception_boundary=bool(aux.get("exception_boundary")),
        exception_cb=bool(aux.get("exception_cb")),
        private_stack=_number(aux, "priv_stack_ptr", where) if _uses_private_stack(aux) else 0,
        arena_vm_start=arena,
        arena_user_vm_start=arena_user,
        poke=_patched_tail_calls(insns, context) if context.tail_calls else (),
    )


def _uses_private_stack(aux: Mapping[str, Any]) -> bool:
    return bool(aux.get("jits_use_priv_stack"))


def _number(aux: Mapping[str, Any], name: str, where: str, limit: int = (1 << 64) - 1) -> int:
    value = aux.get(name)
    if not isinstance(value, int) or not 0 <= value <= limit:
        raise InputError(f"aux_fields.{name} is {value!r}", where)
    return value


def _patched_tail_calls(insns: bytes, context: ProgramContext) -> tuple[tuple[int, int], ...]:
    """Targets of the tail calls to constant indices, as the map was filled at load time.

    The map is the last one loaded to r2 before the call, the index the constant in r3.
    """
    decoded = decode(insns)
    targets: list[tuple[int, int]] = []
    for index, insn in enumerate(decoded):
        if insn.opcode != isa.JMP | isa.TAIL_CALL or insn.imm == 0:
            continue
        contents = context.tail_calls.get(_map_in_r2(decoded, index), ())
        key = _constant_in_r3(decoded, index)
        if key is not None and 0 <= key < len(contents):
            target = contents[key]
            if target is not None:
                targets.append((insn.imm, target))
    return tuple(targets)


def _map_in_r2(insns: list[Insn], before: int) -> int:
    for index in range(before - 2, -1, -1):
        if insns[index].opcode == isa.LD_IMM64 and insns[index].dst == isa.Reg.R2:
            low, high = insns[index].imm & 0xFFFFFFFF, insns[index + 1].imm & 0xFFFFFFFF
            return high << 32 | low
    return 0


def _constant_in_r3(insns: list[Insn], before: int) -> int | None:
    for index in range(before - 1, -1, -1):
        insn = insns[index]
        if insn.dst == isa.Reg.R3 and insn.opcode in (isa.ALU64 | isa.MOV, isa.ALU | isa.MOV):
            return insn.imm
    return None
