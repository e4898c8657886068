"""A capture's cases as images to replay: code, programs, traced function, maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tramposim._native import arm64_asm, x86_64_asm
from tramposim.capture.maps import case_maps, program_maps
from tramposim.capture.records import (
    BootRecord,
    CaseRecord,
    NodesRecord,
    ProgramRecord,
    ProgRecord,
    decode_hex,
)
from tramposim.capture.runtime import CapturedRuntime
from tramposim.capture.trampolines import ENDBR64
from tramposim.errors import InputError
from tramposim.kernel.nodes import TrampFlag
from tramposim.kernel.versions import rules_for
from tramposim.machine.replay import Patch, Program, ReplayedImage
from tramposim.machine.runtime import RETURN_THUNKS
from tramposim.spec import Arch, Returns

__all__ = ["replayed_image", "replayed_program", "stand_in"]

_BEFORE = 16
"""Bytes before the function in `func_bytes_m16`."""
_LITERAL = 8
_GUARD = 8
"""Bytes around a private stack that the kernel checks for overflows."""
_RAX = 0
_PATCHED = 8
"""Bytes of arm64's patched entry: mov x9, x30; bl."""


def replayed_image(
    case: CaseRecord,
    programs: Sequence[ProgramRecord],
    runtime: CapturedRuntime,
    where: str,
) -> ReplayedImage:
    """What a case's image needs to execute; `programs` are those that its nodes name.

    Raises `InputError` for a record without what should be there.
    """
    if case.img is None or case.image is None or case.flags is None or case.nodes is None:
        raise InputError(f"{case.id}: an image without img, address, flags or nodes", where)
    image = decode_hex(case.img, f"{case.id}: img", where)
    code = image[: case.code_len] if case.code_len is not None else image
    if not code or not 0 < case.image < (1 << 64) - len(image):
        raise InputError(f"{case.id}: an image of {len(code)} bytes at {case.image:#x}", where)
    struct_ops = bool(case.flags & TrampFlag.INDIRECT)
    called, body = case.image, b""
    patches: tuple[Patch, ...] = ()
    if not struct_ops:
        called, body, patches = _target(case, runtime, where)
    loaded = [_program(one, case.id, where) for one in _executed(case.nodes, programs)]
    if case.tgt_prog is not None:
        loaded.append(_program(case.tgt_prog, case.id, where))
    return ReplayedImage(
        name=f"bpf_trampoline_{case.target}",
        address=case.image,
        code=code,
        size=case.im_size or len(image),
        im=case.im or 0,
        called=called,
        body=body,
        patches=patches,
        complete=struct_ops or case.tgt_prog is not None or called in _whole(runtime),
        ops=case.site_ops or 0,
        programs=tuple(loaded),
        maps=case_maps(case, where),
    )


def _whole(runtime: CapturedRuntime) -> dict[int, bytes]:
    return {function.address: function.code for function in runtime.functions}


def _target(
    case: CaseRecord, runtime: CapturedRuntime, where: str
) -> tuple[int, bytes, tuple[Patch, ...]]:
    """The traced function's address, its code as while attached, and what lies before it."""
    if case.func_addr is None or case.func_bytes_m16 is None:
        raise InputError(f"{case.id}: a traced function without func_addr, func_bytes_m16", where)
    address = case.func_addr
    seen = decode_hex(case.func_bytes_m16, f"{case.id}: func_bytes_m16", where)
    entry = seen[_BEFORE:]
    if len(entry) < _BEFORE:
        raise InputError(f"{case.id}: func_bytes_m16 of {len(seen)} bytes", where)
    patched = _patched_bytes(runtime, entry)
    if case.tgt_prog is not None:
        return address, b"", (Patch(address, entry[:patched]),)
    patches: tuple[Patch, ...] = ()
    if runtime.kernel.arch is Arch.ARM64:
        patches = (Patch(address - _LITERAL, seen[_BEFORE - _LITERAL : _BEFORE]),)
    whole = _whole(runtime).get(address)
    if whole is not None:
        return address, entry[:patched] + whole[patched:], patches
    following = min((a for a in _whole(runtime) if a > address), default=address + len(entry))
    return address, entry[: following - address], patches


def _patched_bytes(runtime: CapturedRuntime, entry: bytes) -> int:
    """Bytes from the start of the function to behind its patched instruction."""
    if runtime.kernel.arch is Arch.ARM64:
        return _PATCHED
    landing = entry[:4] in (ENDBR64, rules_for(runtime.kernel).sealed_endbr)
    return 9 if landing else 5


def _executed(nodes: NodesRecord, programs: Iterable[ProgramRecord]) -> list[ProgramRecord]:
    """The programs that the nodes name, each once."""
    named = {node.prog for node in (*nodes.fentry, *nodes.fmod_ret, *nodes.fexit)}
    return [program for program in programs if program.name in named]


def replayed_program(record: ProgRecord, boot: BootRecord, where: str) -> ReplayedImage:
    """A program by itself: the loop calls it with a context of zeros.

    Raises `InputError` for a record without its machine code.
    """
    program = _program(record, record.id, where)
    (address, code), *_ = program.code
    return ReplayedImage(
        name=f"bpf_prog_{record.id}",
        address=address,
        code=code,
        size=len(code),
        im=0,
        called=address,
        body=b"",
        patches=(),
        complete=True,
        ops=0,
        programs=(program,),
        maps=program_maps(record, boot, where),
    )


def _stacks(record: ProgramRecord | ProgRecord) -> tuple[tuple[int, int], ...]:
    """Private stacks of a program's functions, as the kernel sizes them: guards around."""
    found = []
    for given in record.funcs or ([record.main] if record.main is not None else []):
        pointer, depth = (given.aux_fields.get(n) for n in ("priv_stack_ptr", "stack_depth"))
        uses = given.aux_fields.get("jits_use_priv_stack")
        if uses and isinstance(pointer, int) and isinstance(depth, int) and 0 <= depth < 1 << 16:
            found.append((pointer, (depth + 7 & -8) + 2 * _GUARD))
    return tuple(found)


def _program(record: ProgramRecord | ProgRecord, case_id: str, where: str) -> Program:
    name = record.name if isinstance(record, ProgramRecord) else record.id
    code = decode_hex(record.jited or "", f"{case_id}: {name}: jited", where)
    if not code or not record.ksyms or len(record.ksyms) != len(record.func_lens):
        raise InputError(f"{case_id}: program {name!r} without its machine code", where)
    parts = []
    at = 0
    for address, size in zip(record.ksyms, record.func_lens, strict=True):
        if not 0 < size <= len(code) - at or not 0 < address < (1 << 64) - size:
            raise InputError(f"{case_id}: {name}: {size} bytes at {address:#x}", where)
        parts.append((address, code[at : at + size]))
        at += size
    shared = record.p if isinstance(record, ProgramRecord) else None
    p = record.main.p if record.main is not None else shared or 0
    return Program(name or "target", p, record.ksyms[0], tuple(parts), _stacks(record))


def stand_in(image: ReplayedImage, runtime: CapturedRuntime) -> ReplayedImage:
    """The image with a traced function that returns 0 at once, as this kernel returns."""
    patched = _patched_bytes(runtime, image.body)
    kernel, at = runtime.kernel, image.called + patched
    if kernel.arch is Arch.ARM64:
        code = arm64_asm.ISA.encode_one("movi32", 0, 0) + arm64_asm.ISA.encode_one("ret", 30)
    else:
        encode = x86_64_asm.ISA.encode_one
        code = encode("mov32_imm32", _RAX, 0)
        at += len(code)
        thunk = RETURN_THUNKS.get(kernel.returns)
        # ITS leaves a return alone where it lies in the second half of a 64-byte line.
        if thunk is None or (kernel.returns is Returns.ITS and at & 0x20):
            code += encode("ret") + encode("int3")
        else:
            code += encode("jmp", runtime.symbols[thunk], address=at)
    return replace(image, body=image.body[:patched] + code, complete=True)
