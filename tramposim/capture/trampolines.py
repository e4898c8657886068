"""Captured trampolines: a `case` record to the request that rebuilds its image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tramposim.capture.boot import boot_kernel, boot_symbols, padded_functions
from tramposim.capture.records import (
    BootRecord,
    CaseRecord,
    NodeRecord,
    ProgramRecord,
    decode_hex,
)
from tramposim.errors import InputError
from tramposim.jit.trampoline import TrampolineRequest
from tramposim.kernel.nodes import FSESSIONS, Node, TrampFlag
from tramposim.kernel.prototype import model_prototype
from tramposim.kernel.versions import PADDED_FUNCTIONS, rules_for
from tramposim.spec import Kernel, ProgKind, Returns

__all__ = ["CaseContext", "case_context", "case_request"]

MAX_NODES = 4096
"""Most programs on one list that are looked at; kernels allow 38."""
ENDBR64 = bytes.fromhex("f30f1efa")
_ADDRESS_LIMIT = 1 << 64

KINDS = {
    "fe": ProgKind.FENTRY,
    "fx": ProgKind.FEXIT,
    "fm": ProgKind.FMOD_RET,
    "fs": ProgKind.FSESSION,
    "me": ProgKind.FENTRY_MULTI,
    "mx": ProgKind.FEXIT_MULTI,
    "ms": ProgKind.FSESSION_MULTI,
    "lsm": ProgKind.LSM,
    "so": ProgKind.STRUCT_OPS,
}
"""Kinds of programs as records abbreviate them."""

_TRACING_TYPES = {
    24: ProgKind.FENTRY,
    25: ProgKind.FEXIT,
    26: ProgKind.FMOD_RET,
    58: ProgKind.FSESSION,
    59: ProgKind.FENTRY_MULTI,
    60: ProgKind.FEXIT_MULTI,
    61: ProgKind.FSESSION_MULTI,
}
"""enum bpf_attach_type of tracing programs, for those declared by number."""


@dataclass(frozen=True, slots=True)
class CaseContext:
    """What all cases of a file share: kernel, symbols, functions with accounting padding."""

    kernel: Kernel
    symbols: dict[str, int]
    padded: frozenset[str]


def case_context(path: Path, boot: BootRecord) -> CaseContext:
    """Context of the cases of the capture at `path`, whose boot record is `boot`."""
    kernel = boot_kernel(boot, str(path))
    padded: frozenset[str] = frozenset()
    if kernel.returns is Returns.STUFFING:
        padded = padded_functions(path, boot, PADDED_FUNCTIONS)
    return CaseContext(kernel, boot_symbols(boot), padded)


def case_request(case: CaseRecord, context: CaseContext, where: str) -> TrampolineRequest:
    """The request whose image a case recorded.

    Raises `InputError` for a record without the fields that decide an image, or with values
    that no kernel has.
    """
    if case.image is None or case.flags is None or case.model is None or case.nodes is None:
        missing = [
            name for name in ("image", "flags", "model", "nodes") if getattr(case, name) is None
        ]
        raise InputError(f"{case.id}: an image without {', '.join(missing)}", where)
    struct_ops = bool(case.flags & TrampFlag.INDIRECT)
    if case.func_addr is None and not struct_ops:
        raise InputError(f"{case.id}: an image without func_addr", where)
    for name in ("image", "im", "func_addr", "flags"):
        value = getattr(case, name)
        if value is not None and not 0 <= value < _ADDRESS_LIMIT:
            raise InputError(f"{case.id}: {name} {value} is no 64-bit value", where)
    model = case.model
    arguments = model.nr_args
    if not 0 <= arguments <= min(len(model.arg_size), len(model.arg_flags)):
        raise InputError(f"{case.id}: a model of {arguments} arguments without their sizes", where)
    programs = {program.name: program for program in case.progs}
    try:
        prototype = model_prototype(
            case.target,
            model.ret_size,
            model.ret_flags,
            model.arg_size[:arguments],
            model.arg_flags[:arguments],
        )
    except InputError as error:
        raise InputError(f"{case.id}: {error}", where) from None
    return TrampolineRequest(
        context.kernel,
        prototype,
        TrampFlag(case.flags),
        case.image,
        case.im or 0,
        case.func_addr or 0,
        context.symbols,
        _nodes(case.id, case.nodes.fentry, programs, where),
        _nodes(case.id, case.nodes.fmod_ret, programs, where),
        _nodes(case.id, case.nodes.fexit, programs, where),
        func_has_endbr=_has_endbr(case, context.kernel, where),
        padded=context.padded,
    )


def _nodes(
    case_id: str, nodes: list[NodeRecord], programs: dict[str, ProgramRecord], where: str
) -> tuple[Node, ...]:
    if len(nodes) > MAX_NODES:
        raise InputError(f"{case_id}: {len(nodes)} programs on one list", where)
    result = []
    for node in nodes:
        program = programs.get(node.prog)
        if program is None:
            raise InputError(f"{case_id}: no program {node.prog!r} for a node", where)
        kind = _kind(program)
        if kind is None or (kind in FSESSIONS) != node.fsession:
            raise InputError(
                f"{case_id}: program {node.prog!r} of kind {program.kind!r} is on a list as "
                f"{'an fsession' if node.fsession else 'no fsession'}",
                where,
            )
        for name in ("p", "bpf_func", "cookie"):
            if not 0 <= getattr(node, name) < _ADDRESS_LIMIT:
                raise InputError(f"{case_id}: {name} of {node.prog!r} is no 64-bit value", where)
        aux = program.main.aux_fields if program.main else {}
        result.append(
            Node(
                node.p,
                node.bpf_func,
                kind,
                node.cookie,
                node.session_cookie,
                node.sleepable,
                bool(aux.get("jits_use_priv_stack")),
                node.prog,
            )
        )
    return tuple(result)


def _kind(program: ProgramRecord) -> ProgKind | None:
    kind = KINDS.get(program.kind)
    if kind is None and program.main is not None:
        attach_type = program.main.prog_fields.get("expected_attach_type")
        if isinstance(attach_type, int):
            kind = _TRACING_TYPES.get(attach_type)
    return kind


def _has_endbr(case: CaseRecord, kernel: Kernel, where: str) -> bool:
    """Whether the function began with endbr64, intact or sealed."""
    if case.func_bytes_m16 is None:
        return False
    entry = decode_hex(case.func_bytes_m16, "func_bytes_m16", where)[16:20]
    return entry in (ENDBR64, rules_for(kernel).sealed_endbr)
