"""Shape of a trampoline image: all that decides its code except addresses and cookies."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.jit.assembler import Assembler, Slot
from tramposim.kernel.frame import cookie_index
from tramposim.kernel.image import FrameLayout
from tramposim.kernel.nodes import FSESSIONS, TrampFlag
from tramposim.kernel.prototype import Placement, place_arguments
from tramposim.kernel.versions import VersionRules, rules_for
from tramposim.spec import Kernel, ProgKind, Value

__all__ = ["NodeShape", "Operands", "ProgramShape", "Shape", "make_shape"]

NodeShape = tuple[ProgKind, bool, bool, bool]
"""(kind, session_cookie, sleepable, private_stack) of a node."""


def _enter_exit(shape: NodeShape) -> tuple[str, str]:
    """Names of the functions called around a program (bpf_trampoline_enter, _exit).

    Recursion is counted for tracing programs, and for struct_ops programs only when they run
    on a private stack (bpf_prog_check_recur).
    """
    kind, _, sleepable, private_stack = shape
    recur = private_stack if kind is ProgKind.STRUCT_OPS else kind is not ProgKind.LSM
    suffix = ("_sleepable" if sleepable else "") + ("_recur" if recur else "")
    return f"__bpf_prog_enter{suffix}", f"__bpf_prog_exit{suffix}"


@dataclass(frozen=True, slots=True)
class ProgramShape:
    """One program call of an image; the slots stand for what each request gives."""

    name: str
    """List and position: `fentry[0]`."""
    subject: int
    """Position among all program calls of the image."""
    p: Slot
    bpf_func: Slot
    cookie: Slot
    enter: Slot
    exit: Slot
    enter_symbol: str
    exit_symbol: str
    cookie_number: int | None
    """Which session cookie it uses, counted in list order; None if it uses none."""


@dataclass(frozen=True, slots=True)
class Operands:
    """Slots of a plan that do not belong to a program, in the order of the slot vector."""

    im: Slot
    func_addr: Slot
    original: Slot
    tramp_enter: Slot
    tramp_exit: Slot
    return_thunk: Slot
    call_depth: Slot


@dataclass(frozen=True, slots=True)
class Shape:
    """What the two architectures' emitters work from."""

    kernel: Kernel
    rules: VersionRules
    flags: TrampFlag
    placement: Placement
    operands: Operands
    fentry: tuple[ProgramShape, ...]
    fmod_ret: tuple[ProgramShape, ...]
    fexit: tuple[ProgramShape, ...]
    last_argument_size: int
    """Bytes of the last argument, 0 without arguments."""
    padded: frozenset[str]
    cookies: int
    """Session cookies: fsession programs that call bpf_session_cookie."""
    fsession: bool
    """Whether any fsession is among the programs."""

    @property
    def programs(self) -> tuple[ProgramShape, ...]:
        """All program calls in the order of emission."""
        return self.fentry + self.fmod_ret + self.fexit

    def func_meta(
        self, frame: FrameLayout, program: ProgramShape | None = None, is_return: bool = False
    ) -> int:
        """The word below the context: slots, cookie index of the program, is_return."""
        meta = len(self.placement.slots) | (int(is_return) << 63)
        if program is not None and program.cookie_number is not None:
            meta |= cookie_index(frame, program.cookie_number) << 8
        return meta


def make_shape(
    asm: Assembler,
    kernel: Kernel,
    arguments: tuple[Value, ...],
    flags: TrampFlag,
    lists: tuple[tuple[NodeShape, ...], tuple[NodeShape, ...], tuple[NodeShape, ...]],
    padded: frozenset[str],
) -> Shape:
    """Shape with fresh slots of `asm`; `lists` are fentry, fmod_ret and fexit.

    The slot vector is: im, func_addr, original, tramp_enter, tramp_exit, return_thunk,
    call_depth, then p, bpf_func, cookie, enter, exit of each program.
    """
    operands = Operands(*(asm.slot() for _ in range(7)))
    programs: list[tuple[ProgramShape, ...]] = []
    subject = 0
    for list_name, nodes in zip(("fentry", "fmod_ret", "fexit"), lists, strict=True):
        calls = []
        number = 0
        for position, node in enumerate(nodes):
            uses_cookie = node[0] in FSESSIONS and node[1]
            slots = (asm.slot(), asm.slot(), asm.slot(), asm.slot(), asm.slot())
            enter, leave = _enter_exit(node)
            calls.append(
                ProgramShape(
                    f"{list_name}[{position}]",
                    subject,
                    *slots,
                    enter,
                    leave,
                    number if uses_cookie else None,
                )
            )
            number += uses_cookie
            subject += 1
        programs.append(tuple(calls))
    fentry, fmod_ret, fexit = programs
    return Shape(
        kernel,
        rules_for(kernel),
        flags,
        place_arguments(arguments, kernel.arch),
        operands,
        fentry,
        fmod_ret,
        fexit,
        arguments[-1].size if arguments else 0,
        padded,
        cookies=sum(call.cookie_number is not None for call in fentry),
        fsession=any(node[0] in FSESSIONS for node in lists[0]),
    )
