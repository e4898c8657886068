"""What an image was made for, read from what it does: for dumps without their inputs.

The image runs with callees that are recognised by name; the programs, their cookies, the
lists that they are on and the flags follow from its calls and their arguments. What it is then
checked against are the rules of such an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tramposim.errors import UnsupportedError
from tramposim.jit.trampoline import ENDBR_SIZE, X86_PATCH_SIZE, TrampolineRequest
from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.machine.rules.listing import Flow, Listing
from tramposim.machine.rules.probe import Departure, Probe
from tramposim.spec import Arch, Kernel, ProgKind, Prototype, Value

__all__ = ["infer_request"]

_CALLER, _FUNCTION = 0xFFFFFFFF81234560, 0xFFFFFFFF81777709
_GS_BASE = 0xFFFF888237800000
_MOST_CALLS = 400
_ENDBR = bytes.fromhex("f30f1efa")


@dataclass(slots=True)
class _Call:
    """A program call as observed: its enter function, arguments and context."""

    enter: str
    p: int
    cookie: int
    bpf_func: int = 0
    meta: int = 0
    below: int = 0


@dataclass(slots=True)
class _Observed:
    """One run: program calls before and after the original function, and how it ended."""

    before: list[_Call]
    after: list[_Call]
    im: int | None
    original: int | None
    target: int
    result: int
    last: int


def infer_request(
    probe: Probe,
    kernel: Kernel,
    address: int,
    code: bytes,
    symbols: Mapping[str, int],
    prototype: Prototype | None = None,
) -> TrampolineRequest:
    """The request that an image of this behaviour answers.

    `prototype` tells the arguments' sizes; without it each slot is a 64-bit argument. Raises
    `UnsupportedError` if the image does not behave as one: unknown callees, no program.
    """
    probe.load(Listing(kernel.arch, (address, code)))
    watcher = _Watcher(probe, kernel, address, {value: n for n, value in symbols.items()})
    first = watcher.run(-1)
    calls = first.before + first.after
    if not calls or not all(call.bpf_func for call in calls):
        raise UnsupportedError("no trampoline image: it calls no program between enter and exit")
    stops = len(first.before)
    if first.im is not None:
        for number in range(len(first.before)):
            if watcher.run(number).original is None:
                stops = number
                break
    slots = calls[0].meta & 0xFF
    arguments = prototype or Prototype("f", (Value(8),) * slots, Value(8))
    if arguments.slots != slots:
        raise UnsupportedError(
            f"the image has {slots} argument slots, {arguments.name} takes {arguments.slots}"
        )
    flags, function, endbr = _flags(kernel, first, code, watcher.into_function)
    sessions = {call.p for call in first.before} & {call.p for call in first.after}
    names = {value: name for name, value in symbols.items()}
    fentry, fmod_ret, fexit = (
        _nodes(part, kind, sessions, flags, names)
        for part, kind in (
            (first.before[:stops], ProgKind.FENTRY),
            (first.before[stops:], ProgKind.FMOD_RET),
            (first.after, ProgKind.FEXIT),
        )
    )
    return TrampolineRequest(
        kernel, arguments, flags, address, first.im or 0, function, symbols,
        fentry, fmod_ret, fexit, func_has_endbr=endbr,
    )  # fmt: skip


def _flags(
    kernel: Kernel, seen: _Observed, code: bytes, into_function: int
) -> tuple[TrampFlag, int, bool]:
    """The image's flags, the traced function's address, whether that begins with endbr64."""
    x86 = kernel.arch is Arch.X86_64
    entry = (X86_PATCH_SIZE + ENDBR_SIZE) if x86 else (12 if kernel.bti else 8)
    function, endbr = (seen.original or into_function) - entry, x86
    first = (seen.before + seen.after)[0]
    flags = TrampFlag(0)
    if first.below in (function, function + ENDBR_SIZE) and first.below:
        flags |= TrampFlag.IP_ARG
        endbr = x86 and first.below == function
        function = first.below
    if seen.im is not None:
        flags |= TrampFlag.CALL_ORIG
        if seen.target == _CALLER:
            flags |= TrampFlag.SKIP_FRAME
        return flags, function, endbr
    tracing = "_recur" in first.enter
    if (x86 and code.startswith(_ENDBR)) or not tracing:
        flags |= TrampFlag.INDIRECT
        if seen.result == seen.last:
            flags |= TrampFlag.RET_FENTRY_RET
        return flags, 0, False
    return flags | TrampFlag.RESTORE_REGS, function, endbr


def _nodes(
    calls: list[_Call],
    kind: ProgKind,
    sessions: set[int],
    flags: TrampFlag,
    names: Mapping[int, str],
) -> tuple[Node, ...]:
    nodes = []
    index = 0
    for call in calls:
        now = call.meta >> 8 & 0xFF
        mine = kind
        if call.p in sessions:
            mine = ProgKind.FSESSION
        elif flags & TrampFlag.INDIRECT:
            mine = ProgKind.STRUCT_OPS
        elif "_recur" not in call.enter:
            mine = ProgKind.LSM
        nodes.append(
            Node(
                call.p, call.bpf_func, mine, call.cookie,
                call.p in sessions and now not in (0, index),
                "_sleepable" in call.enter,
                mine is ProgKind.STRUCT_OPS and "_recur" in call.enter,
                names.get(call.bpf_func, ""),
            )
        )  # fmt: skip
        index = now
    return tuple(nodes)


class _Watcher:
    """Runs an image and records its calls."""

    def __init__(
        self, probe: Probe, kernel: Kernel, address: int, names: Mapping[int, str]
    ) -> None:
        self.probe = probe
        self.kernel = kernel
        self.address = address
        self.names = names
        self.into_function = _FUNCTION

    def run(self, nonzero: int) -> _Observed:
        """One run; the body of program call `nonzero` returns 1, all others 0."""
        probe = self.probe
        self._start()
        seen = _Observed([], [], None, None, 0, 0, 0)
        pc, open_call = self.address, None
        for _ in range(_MOST_CALLS):
            departure = probe.go(pc)
            if departure.problem:
                raise UnsupportedError(
                    f"no trampoline image: at {departure.site:#x} it {departure.problem}"
                )
            if self._ends(departure, seen):
                return seen
            name = self.names.get(departure.target, "")
            result = probe.noise()
            if name == "__bpf_tramp_enter":
                seen.im = self._argument(0)
            elif name.startswith("__bpf_prog_enter"):
                run_ctx = self._argument(1)
                cookie = probe.read(run_ctx) if probe.readable(run_ctx) else 0
                open_call = _Call(name, self._argument(0), cookie)
                result = 1
            elif name.startswith("__bpf_prog_exit"):
                open_call = None
            elif name == "__bpf_tramp_exit":
                pass
            elif open_call is not None and not open_call.bpf_func:
                open_call.bpf_func = departure.target
                context = self._argument(0)
                if not probe.readable(context - 16, 16):
                    raise UnsupportedError(f"no trampoline image: context {context:#x}")
                open_call.meta = probe.read(context - 8)
                open_call.below = probe.read(context - 16)
                after = seen.original is not None
                (seen.after if after else seen.before).append(open_call)
                result = int(not after and len(seen.before) - 1 == nonzero)
                if nonzero < 0:
                    result = seen.last = 0x5A5A5A5A5A + len(seen.before) if seen.im is None else 0
            elif seen.im is not None and seen.original is None:
                seen.original = departure.target
            else:
                raise UnsupportedError(
                    f"the call at {departure.site:#x} goes to {departure.target:#x}, which is"
                    " not known: give --symbols"
                )
            link = probe.convention.link
            pc = probe.get(link) if link else probe.read(probe.get(probe.convention.stack))
            probe.callee_returns(result)
        raise UnsupportedError("no trampoline image: it calls without end")

    def _start(self) -> None:
        probe = self.probe
        probe.reset()
        if self.kernel.arch is Arch.X86_64:
            for offset, word in ((8, _CALLER), (16, _FUNCTION)):
                probe.write(probe.stack_top - offset, word)
            probe.set({
                "rsp": probe.stack_top - 16, "rbp": probe.stack_top + 512, "gs_base": _GS_BASE,
            })  # fmt: skip
        else:
            probe.set({"x9": _CALLER, "x30": _FUNCTION, "x29": probe.stack_top + 512})

    def _argument(self, number: int) -> int:
        return self.probe.get(self.probe.convention.arguments[number])

    def _comes_back(self) -> bool:
        """Whether the code that is jumped to would return into the image (arm64)."""
        link = self.probe.convention.link
        return bool(link) and self.probe.get(link) in self.probe.listing

    def _ends(self, departure: Departure, seen: _Observed) -> bool:
        """Whether a departure is the image's return; then `seen` is completed."""
        probe, target = self.probe, departure.target
        name = self.names.get(target, "")
        if departure.flow is Flow.JUMP and name.endswith("return_thunk"):
            target = probe.read(probe.get(probe.convention.stack))
        elif departure.flow is not Flow.RETURN:
            return False
        comes_back = target == _FUNCTION and seen.im is not None and self._comes_back()
        if comes_back:
            return False
        if target not in (_CALLER, _FUNCTION):
            raise UnsupportedError(f"no trampoline image: it returns to {target:#x}")
        seen.target, seen.result = target, probe.get(probe.convention.result)
        return True
