"""Stack frames of trampoline images, from high to low addresses.

Each list below is the frame as a reader would draw it; offsets follow from the order. Facts:
arch_prepare_bpf_trampoline of x86_64 and arm64, checked against images of booted kernels.
"""

from __future__ import annotations

from tramposim.kernel.image import FrameLayout, FrameSlot
from tramposim.kernel.nodes import TrampFlag
from tramposim.kernel.prototype import Placement

__all__ = [
    "FUNC_META",
    "IP",
    "RETURN_ADDRESS",
    "RETURN_VALUE",
    "RUN_CTX",
    "RUN_CTX_COOKIE",
    "SAVED_RBX",
    "SAVED_X19",
    "SAVED_X20",
    "STACK_ARGUMENTS",
    "argument",
    "arm64_frame",
    "cookie_index",
    "session_cookie",
    "x86_64_frame",
]

RETURN_VALUE = "return value"
FUNC_META = "func_meta"
IP = "function address"
RUN_CTX = "run_ctx"
STACK_ARGUMENTS = "stack arguments"
SAVED_RBX = "saved rbx"
SAVED_X19 = "saved x19"
SAVED_X20 = "saved x20"
SAVED_FP = "saved frame pointer"
CALLER_FP = "frame pointer of the caller"
RETURN_ADDRESS = "return address into the function"
RETURN_TO_CALLER = "return address into the caller"

RUN_CTX_SIZE = 16
"""sizeof(struct bpf_tramp_run_ctx)."""
RUN_CTX_COOKIE = 0
"""offsetof(struct bpf_tramp_run_ctx, bpf_cookie)."""


def argument(slot: int) -> str:
    """Name of an argument slot of the context, from 0."""
    return f"argument {slot}"


def session_cookie(number: int) -> str:
    """Name of a session cookie's slot; 0 belongs to the first cookie user in list order."""
    return f"session cookie {number}"


def _context(flags: TrampFlag, slots: int, cookies: int) -> list[tuple[str, int]]:
    """Return value, arguments (the last highest), func_meta, ip and session cookies."""
    keeps_result = flags & (TrampFlag.CALL_ORIG | TrampFlag.RET_FENTRY_RET)
    return [
        *([(RETURN_VALUE, 8)] if keeps_result else []),
        *((argument(slot), 8) for slot in reversed(range(slots))),
        (FUNC_META, 8),
        *([(IP, 8)] if flags & TrampFlag.IP_ARG else []),
        *((session_cookie(number), 8) for number in reversed(range(cookies))),
    ]


def x86_64_frame(
    flags: TrampFlag, placement: Placement, cookies: int, jmp_entry: bool
) -> FrameLayout:
    """Frame around rbp. `jmp_entry`: no return address into the traced function on the stack."""
    indirect = flags & TrampFlag.INDIRECT
    cells = [
        *_context(flags, len(placement.slots), cookies),
        (SAVED_RBX, 8),
        (RUN_CTX, RUN_CTX_SIZE),
    ]
    if flags & TrampFlag.CALL_ORIG and placement.stack:
        size = sum(cell[1] for cell in cells) + 8 * placement.stack
        # rsp must be a multiple of 16 at the original call; above the frame lie the saved
        # rbp, the caller's return address and, entered by call, the one into the function.
        pushed = 16 if jmp_entry else 24
        cells.append((STACK_ARGUMENTS, 8 * placement.stack + -(size + pushed) % 16))
    above = [RETURN_TO_CALLER] if jmp_entry or indirect else [RETURN_TO_CALLER, RETURN_ADDRESS]
    slots = [
        FrameSlot(name, 8 * (len(above) - number)) for number, name in enumerate([*above, SAVED_FP])
    ]
    offset = 0
    for name, size in cells:
        offset -= size
        slots.append(FrameSlot(name, offset, size))
    return FrameLayout("rbp", -offset, tuple(slots))


def arm64_frame(flags: TrampFlag, placement: Placement, cookies: int) -> FrameLayout:
    """Frame above sp; the saved fp and lr pairs lie above `size`."""
    cells = [
        (SAVED_X20, 8),
        (SAVED_X19, 8),
        *_context(flags, len(placement.slots), cookies),
        (RUN_CTX, RUN_CTX_SIZE),
    ]
    if flags & TrampFlag.CALL_ORIG and placement.stack:
        cells.append((STACK_ARGUMENTS, 8 * placement.stack))
    slots, offset = [], 0
    for name, size in reversed(cells):
        slots.append(FrameSlot(name, offset, size))
        offset += size
    size = (offset + 15) & ~15
    above = [SAVED_FP, RETURN_TO_CALLER]
    if not flags & TrampFlag.INDIRECT:
        above = [SAVED_FP, RETURN_ADDRESS, CALLER_FP, RETURN_TO_CALLER]
    slots += [FrameSlot(name, size + 8 * number) for number, name in enumerate(above)]
    return FrameLayout("sp", size, tuple(reversed(slots)))


def cookie_index(frame: FrameLayout, number: int) -> int:
    """What func_meta says for a session cookie: its distance below argument 0 in 8 bytes.

    Without arguments the context still begins right above func_meta.
    """
    context = frame[FUNC_META].offset + 8
    return (context - frame[session_cookie(number)].offset) // 8
