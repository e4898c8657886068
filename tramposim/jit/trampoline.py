"""Trampoline images: what arch_prepare_bpf_trampoline emits for a request.

An image's code depends on its *shape* (kernel, arguments, flags, kinds of programs) and on
operands (addresses, cookies). The architectures describe a shape once as a plan
(`x86_64.trampoline`, `arm64.trampoline`); here the plan is cached and instantiated with the
operands of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from tramposim._native import arm64_asm, x86_64_asm
from tramposim._native.asmplan import Code
from tramposim.errors import InputError, UnsupportedError
from tramposim.jit.arm64 import trampoline as arm64_trampoline
from tramposim.jit.arm64.assembler import Arm64Assembler
from tramposim.jit.assembler import Assembler
from tramposim.jit.shape import NodeShape, make_shape
from tramposim.jit.x86_64 import trampoline as x86_64_trampoline
from tramposim.jit.x86_64.assembler import X86Assembler
from tramposim.kernel.attach import Trampoline
from tramposim.kernel.image import FrameLayout, Image, LazySymbols, LazyTuple, Part, Skip
from tramposim.kernel.nodes import FSESSIONS, Node, TrampFlag, node_shape
from tramposim.kernel.versions import PADDED_FUNCTIONS, rules_for
from tramposim.spec import Arch, Kernel, Prototype, Returns, Value

__all__ = ["THUNKS", "TrampolineRequest", "attached_request", "build_trampoline", "patch_out"]

X86_SAFETY = 64
"""BPF_INSN_SAFETY: bytes that x86_64 adds to the size of every image."""

THUNKS = {
    Returns.UNTRAINED: "retbleed_return_thunk",
    Returns.SRSO: "srso_return_thunk",
    Returns.SRSO_ALIAS: "srso_alias_return_thunk",
    Returns.ITS: "its_return_thunk",
    Returns.STUFFING: "call_depth_return_thunk",
}
"""Where images return to instead of `ret`, by what x86_return_thunk points to."""

X86_PATCH_SIZE = 5
ENDBR_SIZE = 4

_KNOWN_FLAGS = int(
    TrampFlag.RESTORE_REGS
    | TrampFlag.CALL_ORIG
    | TrampFlag.SKIP_FRAME
    | TrampFlag.IP_ARG
    | TrampFlag.RET_FENTRY_RET
    | TrampFlag.TAIL_CALL_CTX
    | TrampFlag.INDIRECT
)

_CALL_ORIG, _INDIRECT = int(TrampFlag.CALL_ORIG), int(TrampFlag.INDIRECT)
"""As plain numbers: IntFlag arithmetic takes longer than emitting an image."""

_ORIGINAL, _FIRST_PROGRAM, _PER_PROGRAM = 2, 7, 5
"""Layout of the slot vector of `make_shape`."""
_FOUR_INSNS = 0x0001_0002_0003_0004
"""A constant that arm64 loads in four instructions."""


@dataclass(frozen=True, slots=True)
class TrampolineRequest:
    """Everything that decides an image.

    `fentry`, `fmod_ret`, `fexit` hold the nodes in invocation order; `image` is the address
    of the code, `im` of its struct bpf_tramp_image (0 for struct_ops), `func_addr` of the
    traced function, `func_has_endbr` whether it begins with endbr64 or its sealed form
    (x86_64). `symbols` gives the addresses of the kernel functions called.
    `padded` names functions that hold call-depth accounting in the padding before them, so
    that calls to them are emitted without (x86_64 with Returns.STUFFING).
    """

    kernel: Kernel
    prototype: Prototype
    flags: TrampFlag
    image: int
    im: int
    func_addr: int
    symbols: Mapping[str, int]
    fentry: tuple[Node, ...] = ()
    fmod_ret: tuple[Node, ...] = ()
    fexit: tuple[Node, ...] = ()
    func_has_endbr: bool = False
    padded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Planned:
    """A plan with what its instances have in common."""

    asm: Assembler
    frame: FrameLayout
    symbols: tuple[str, str, str, str]
    """Symbols behind the slots tramp_enter, tramp_exit, return_thunk, call_depth, or empty."""
    call_symbols: tuple[tuple[str, str], ...]
    """Enter and exit symbol of each program call."""


def _new_assembler(kernel: Kernel) -> X86Assembler | Arm64Assembler:
    if kernel.arch is Arch.X86_64:
        return X86Assembler(x86_64_asm.ISA)
    asm = Arm64Assembler(arm64_asm.ISA)
    asm.add_moves = rules_for(kernel).add_moves
    return asm


@lru_cache(maxsize=1024)
def _plan(
    kernel: Kernel,
    arguments: tuple[Value, ...],
    flags: int,
    fentry: tuple[NodeShape, ...],
    fmod_ret: tuple[NodeShape, ...],
    fexit: tuple[NodeShape, ...],
    padded: frozenset[str],
) -> _Planned:
    """The plan of a shape.

    Raises `UnsupportedError` for flags that no image here has, `InputError` for lists that no
    kernel makes.
    """
    unknown = flags & ~_KNOWN_FLAGS
    if unknown:
        raise UnsupportedError(f"trampoline flags {unknown:#x} ({TrampFlag(unknown)!r})")
    if (fmod_ret or fexit) and not flags & _CALL_ORIG:
        raise InputError("programs run after a function that the image does not call (CALL_ORIG)")
    if _sessions(fentry) != _sessions(fexit):
        raise InputError("every fsession is on the fentry and on the fexit list, in equal order")
    asm = _new_assembler(kernel)
    shape = make_shape(asm, kernel, arguments, TrampFlag(flags), (fentry, fmod_ret, fexit), padded)
    if isinstance(asm, X86Assembler):
        frame = x86_64_trampoline.emit_trampoline(asm, shape)
    else:
        frame = arm64_trampoline.emit_trampoline(asm, shape)
    calls_original = flags & _CALL_ORIG
    returns = kernel.returns if kernel.arch is Arch.X86_64 else Returns.PLAIN
    return _Planned(
        asm,
        frame,
        (
            "__bpf_tramp_enter" if calls_original else "",
            "__bpf_tramp_exit" if calls_original else "",
            THUNKS.get(returns, ""),
            "__x86_call_depth" if returns is Returns.STUFFING else "",
        ),
        tuple((call.enter_symbol, call.exit_symbol) for call in shape.programs),
    )


def _sessions(nodes: tuple[NodeShape, ...]) -> list[NodeShape]:
    return [node for node in nodes if node[0] in FSESSIONS]


def build_trampoline(request: TrampolineRequest) -> Image:
    """The image that the request's kernel emits.

    Raises `InputError` for a missing symbol or impossible lists, `UnsupportedError` for an
    unknown version or flag, `BuildError` when an operand cannot be encoded (a call target out
    of reach).
    """
    kernel = request.kernel
    fentry, fmod_ret, fexit = request.fentry, request.fmod_ret, request.fexit
    planned = _plan(
        kernel,
        request.prototype.arguments,
        int(request.flags),
        tuple(map(node_shape, fentry)),
        tuple(map(node_shape, fmod_ret)),
        tuple(map(node_shape, fexit)),
        request.padded,
    )
    nodes = (*fentry, *fmod_ret, *fexit)
    values = _operands(request, nodes, planned)
    asm = planned.asm
    emitted = asm.emit(request.image, values)
    code = emitted.code
    return Image(
        kernel.arch,
        request.image,
        code,
        _size(request, asm, values, len(code)),
        LazyTuple(lambda: _parts(asm, emitted, nodes)),
        LazySymbols(lambda: _call_targets(request, nodes, planned, values)),
        planned.frame,
        LazyTuple(lambda: _skips(asm, emitted, nodes)) if request.im else (),
    )


def _parts(asm: Assembler, code: Code, nodes: tuple[Node, ...]) -> tuple[Part, ...]:
    starts = [*code.parts, len(code.code)]
    return tuple(
        Part(name, start, end, nodes[subject].name if subject >= 0 else "")
        for name, subject, start, end in zip(
            asm.part_names, asm.part_subjects, starts, starts[1:], strict=False
        )
    )


def _skips(asm: Assembler, code: Code, nodes: tuple[Node, ...]) -> tuple[Skip, ...]:
    labels = code.labels
    return tuple(
        Skip(nodes[subject].p, labels[start.index], labels[end.index])
        for subject, start, end in asm.skips
    )


def patch_out(image: Image, p: int) -> bytes:
    """The code after program `p` was detached while tasks may be in the image: its calls are
    jumped over. Raises `InputError` if the image has no call of it that can be patched.
    """
    code = bytearray(image.code)
    isa = x86_64_asm.ISA if image.arch is Arch.X86_64 else arm64_asm.ISA
    jump = "jmp" if image.arch is Arch.X86_64 else "b"
    skips = [skip for skip in image.skips if skip.p == p]
    if not skips:
        raise InputError(f"the image has no call of program {p:#x} that can be patched out")
    for skip in skips:
        insn = isa.encode_one(jump, image.address + skip.target, address=image.address + skip.nop)
        code[skip.nop : skip.nop + len(insn)] = insn
    return bytes(code)


def attached_request(
    trampoline: Trampoline,
    image: int,
    im: int,
    func_addr: int,
    symbols: Mapping[str, int],
    func_has_endbr: bool = True,
    padded: frozenset[str] = PADDED_FUNCTIONS,
) -> TrampolineRequest:
    """The request for the image of what is attached to `trampoline` now."""
    return TrampolineRequest(
        trampoline.kernel,
        trampoline.prototype,
        trampoline.flags,
        image,
        im,
        func_addr,
        symbols,
        trampoline.fentry,
        trampoline.fmod_ret,
        trampoline.fexit,
        func_has_endbr,
        padded,
    )


def _operands(request: TrampolineRequest, nodes: tuple[Node, ...], planned: _Planned) -> list[int]:
    """The slot vector of `make_shape`."""
    addresses = request.symbols
    original = request.func_addr
    if request.kernel.arch is Arch.X86_64:
        original += X86_PATCH_SIZE + (ENDBR_SIZE if request.func_has_endbr else 0)
    try:
        values = [request.im, request.func_addr, original]
        values += [addresses[name] if name else 0 for name in planned.symbols]
        for node, (enter, leave) in zip(nodes, planned.call_symbols, strict=True):
            values += (node.p, node.bpf_func, node.cookie, addresses[enter], addresses[leave])
    except KeyError as error:
        raise InputError(f"no address is given for the kernel symbol {error.args[0]}") from None
    return values


def _call_targets(
    request: TrampolineRequest, nodes: tuple[Node, ...], planned: _Planned, values: list[int]
) -> dict[int, str]:
    """Names of the addresses in a slot vector that are called, jumped to or accounted on."""
    original = values[_ORIGINAL]
    names = {original: f"{request.prototype.name}+{original - request.func_addr:#x}"}
    for name, address in zip(planned.symbols, values[_ORIGINAL + 1 :], strict=False):
        if name:
            names[address] = name
    for number, (node, (enter, leave)) in enumerate(zip(nodes, planned.call_symbols, strict=True)):
        first = _FIRST_PROGRAM + _PER_PROGRAM * number
        names[node.bpf_func] = node.name or "program"
        names[values[first + 3]] = enter
        names[values[first + 4]] = leave
    return names


def _size(request: TrampolineRequest, asm: Assembler, values: list[int], length: int) -> int:
    """im->size. x86_64: the code and BPF_INSN_SAFETY. arm64: the kernel's estimate, made as
    if every call were out of branch range and `im` took four instructions; struct_ops images
    are accounted as they are.
    """
    if request.kernel.arch is Arch.X86_64:
        return length + X86_SAFETY
    if int(request.flags) & _INDIRECT:
        return length
    far = (request.image + (1 << 40)) | (0xFFFF << 48)
    estimate = list(values)
    estimate[0] = _FOUR_INSNS
    estimate[3] = estimate[4] = far
    for first in range(_FIRST_PROGRAM, len(estimate), _PER_PROGRAM):
        estimate[first + 1] = estimate[first + 3] = estimate[first + 4] = far
    return len(asm.emit(request.image, estimate).code)
