"""Trampolines: one way through an image, every call out of it checked against what it should be.

What must hold is stated in terms of the calls that an image makes, so it holds for any code
that keeps the kernel's protocol, not only for what the known JITs emit. Facts:
arch_prepare_bpf_trampoline of both architectures, observed on booted kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.machine.rules.accesses import check_accesses
from tramposim.machine.rules.imagerun import Broken, ImageRun
from tramposim.machine.rules.listing import Flow
from tramposim.machine.rules.probe import Departure
from tramposim.machine.rules.rule import Rule
from tramposim.spec import ProgKind

__all__ = ["ImagePath", "enter_exit"]

_META_COOKIE, _META_RETURN = 8, 63
_RUN_CTX_SIZE = 16
_MASK = (1 << 64) - 1


def enter_exit(node: Node) -> tuple[str, str]:
    """Names of the kernel's functions around a program.

    Tracing programs count recursion; LSM programs do not, struct_ops programs only with a
    private stack (bpf_trampoline_enter).
    """
    recur = (
        node.private_stack if node.kind is ProgKind.STRUCT_OPS else node.kind is not ProgKind.LSM
    )
    suffix = ("_sleepable" if node.sleepable else "") + ("_recur" if recur else "")
    return f"__bpf_prog_enter{suffix}", f"__bpf_prog_exit{suffix}"


@dataclass(slots=True)
class _Session:
    """A session cookie between the halves of its session: where, and what it holds."""

    address: int
    value: int


@dataclass(slots=True)
class ImagePath(ImageRun):
    """One way through the image that `request` asks for, executed by `run`."""

    _result: int | None = 0
    _sessions: dict[int, _Session] = field(default_factory=dict)

    def run(self) -> None:
        """Go the way; stops at the first violation that leaves no way on."""
        try:
            self._start()
            self._follow()
        except Broken as broken:
            self.violations.append(broken.violation)
            if broken.violation.rule in (Rule.MEMORY, Rule.EXECUTION):
                return
        writable = [(self.probe.stack_base, self._stack)]
        if self._depth:
            writable.append((self._depth, self._depth + 8))
        self.violations.extend(
            check_accesses(self.probe, self.probe.segments, writable, self.choices.name)
        )

    def _follow(self) -> None:
        request, flags = self.request, self._flags
        fentry, fmod_ret, fexit = request.fentry, request.fmod_ret, request.fexit
        session = any(node.fsession for node in fentry)
        if self._original:
            self._tramp("__bpf_tramp_enter")
        for number, node in enumerate(fentry):
            ran, value = self._program(node, number, False, 0 if session else None)
            if flags & TrampFlag.RET_FENTRY_RET:
                self._result = value if ran else None
        if fmod_ret:
            self._result = 0
        for number, node in enumerate(fmod_ret, len(fentry)):
            ran, value = self._program(node, number, False, self._result)
            if ran:
                self._result = value
            if self._result:
                break
        else:
            if self._original:
                self._call_original()
        for number, node in enumerate(fexit, len(fentry) + len(fmod_ret)):
            self._program(node, number, session, self._result)
        if self._original:
            self._tramp("__bpf_tramp_exit")
        self._return()

    def _tramp(self, name: str) -> None:
        departure = self._expect(self._symbol(name), f"{name}(im)", Rule.TRAMP_ENTER_EXIT)
        self._same(
            Rule.TRAMP_ENTER_EXIT, departure, self._argument(0), self.request.im, f"im of {name}"
        )
        self.probe.callee_returns(self.probe.noise())

    def _program(
        self, node: Node, number: int, is_return: bool, slot: int | None
    ) -> tuple[bool, int]:
        """Enter, body, exit of one program; `slot` is what its return slot must hold.

        Returns whether its body ran, and what it returned.
        """
        if node.p == self.without:
            return False, 0
        probe, choices = self.probe, self.choices
        enter, leave = enter_exit(node)
        name = node.name or f"{node.p:#x}"
        start = choices.starts[number]
        departure = self._expect(self._symbol(enter), f"{enter} for {name}", Rule.ENTER_EXIT)
        self._same(Rule.ENTER_EXIT, departure, self._argument(0), node.p, f"prog of {enter}")
        run_ctx = self._argument(1)
        self._in_frame(Rule.RUN_CTX, departure, run_ctx, _RUN_CTX_SIZE, "run_ctx")
        self._same(
            Rule.BPF_COOKIE, departure, probe.read(run_ctx), node.cookie,
            f"the BPF cookie of {name}",
        )  # fmt: skip
        saved = probe.noise()
        probe.write(run_ctx + 8, saved)
        probe.callee_returns(start)
        value = choices.returns[number]
        if start:
            departure = self._expect(node.bpf_func, f"program {name}", Rule.CALL_ORDER)
            self._same(
                Rule.BPF_COOKIE, departure, probe.read(run_ctx), node.cookie,
                f"the BPF cookie of {name}",
            )  # fmt: skip
            self._check_context(departure, node, is_return, slot)
            probe.callee_returns(value)
        departure = self._expect(self._symbol(leave), f"{leave} for {name}", Rule.ENTER_EXIT)
        self._same(Rule.ENTER_EXIT, departure, self._argument(0), node.p, f"prog of {leave}")
        self._same(Rule.ENTER_EXIT, departure, self._argument(1), start, f"start time of {leave}")
        self._same(Rule.RUN_CTX, departure, self._argument(2), run_ctx, f"run_ctx of {leave}")
        self._same(Rule.RUN_CTX, departure, probe.read(run_ctx + 8), saved, "run_ctx.saved_run_ctx")
        for word in (run_ctx, run_ctx + 8):
            probe.write(word, probe.noise())
        probe.callee_returns(probe.noise())
        return bool(start), value

    def _check_context(
        self, departure: Departure, node: Node, is_return: bool, slot: int | None
    ) -> None:
        probe, name = self.probe, node.name or f"{node.p:#x}"
        context = self._argument(0)
        count = len(self._arguments)
        has_slot = bool(self._flags & (TrampFlag.CALL_ORIG | TrampFlag.RET_FENTRY_RET))
        self._in_frame(
            Rule.CONTEXT, departure, context, 8 * (count + has_slot), f"the context of {name}"
        )
        for number, (place, value) in enumerate(self._arguments):
            got = probe.read(context + 8 * number)
            if not _delivered(got, value, place.used):
                self._found(
                    Rule.CONTEXT, departure.site,
                    f"argument {number} that {name} sees is {got:#x}, not {value:#x}",
                )  # fmt: skip
        meta = probe.read(context - 8)
        self._same(
            Rule.FUNC_META, departure, meta & ~(0xFF << _META_COOKIE),
            count | is_return << _META_RETURN, f"func_meta that {name} sees, but for its index,",
        )  # fmt: skip
        below = 1
        if self._flags & TrampFlag.IP_ARG:
            below = 2
            self._same(
                Rule.FUNC_IP, departure, probe.read(context - 16), self.request.func_addr,
                f"the function address that {name} sees",
            )  # fmt: skip
        if slot is not None and has_slot:
            self._same(
                Rule.RETURN_SLOT, departure, probe.read(context + 8 * count), slot,
                f"the return value that {name} sees",
            )  # fmt: skip
        if node.fsession and node.session_cookie:
            self._check_cookie(departure, node, context, meta >> _META_COOKIE & 0xFF, below)

    def _check_cookie(
        self, departure: Departure, node: Node, context: int, index: int, below: int
    ) -> None:
        probe, name = self.probe, node.name or f"{node.p:#x}"
        address = context - 8 * index
        low = probe.get(probe.convention.stack) + (8 if self._x86 else 0)
        if index <= below or address < low:
            self._found(
                Rule.SESSION_COOKIE, departure.site,
                f"func_meta gives {name} index {index}, which is no place for a cookie",
            )  # fmt: skip
            return
        session = self._sessions.get(node.p)
        if session is None:
            if any(other.address == address for other in self._sessions.values()):
                self._found(
                    Rule.SESSION_COOKIE, departure.site,
                    f"{name} gets the cookie of another program, at index {index}",
                )  # fmt: skip
            session = self._sessions[node.p] = _Session(address, 0)
        self._same(
            Rule.SESSION_COOKIE,
            departure,
            address,
            session.address,
            f"the cookie's place of {name}",
        )
        self._same(
            Rule.SESSION_COOKIE, departure, probe.read(session.address), session.value,
            f"the session cookie of {name}",
        )  # fmt: skip
        session.value = probe.noise()
        probe.write(session.address, session.value)

    def _call_original(self) -> None:
        probe, convention = self.probe, self.probe.convention
        departure = self._expect(self._into_function, "the original function", Rule.CALL_ORDER)
        stack = probe.get(convention.stack) + (8 if self._x86 else 0)
        on_stack = any(place.stack is not None for place, _ in self._arguments)
        if self._x86 and on_stack and stack % 16:
            self._found(
                Rule.STACK_ALIGNMENT, departure.site,
                f"calls the original function with rsp {stack:#x}, no multiple of 16",
            )  # fmt: skip
        self._check_arguments(departure, stack)
        if self._x86 and self._flags & TrampFlag.TAIL_CALL_CTX:
            self._same(
                Rule.ARGUMENTS, departure, probe.get("rax"), self._entry["rax"],
                "the tail call counter's address",
            )  # fmt: skip
        self._result = probe.noise()
        probe.callee_returns(self._result)

    def _check_arguments(self, departure: Departure, beyond: int) -> None:
        """The arguments in registers, and those on the stack from `beyond` on."""
        probe = self.probe
        for number, (place, value) in enumerate(self._arguments):
            if place.register is not None:
                got = self._argument(place.register)
            else:
                assert place.stack is not None
                got = probe.read(beyond + 8 * place.stack)
            if not _delivered(got, value, place.used):
                self._found(
                    Rule.ARGUMENTS, departure.site,
                    f"the function gets {got:#x} as argument {number}, not {value:#x}",
                )  # fmt: skip

    def _return(self) -> None:
        """The end: back to the caller, or into the function that is still to run."""
        departure = self._go()
        probe, convention, flags = self.probe, self.probe.convention, self._flags
        target = departure.target
        if self._x86 and departure.flow is Flow.JUMP and target in self._thunks():
            target = probe.read(self._stack_pointer(departure))
            probe.set({"rsp": probe.get("rsp") + 8})
        elif departure.flow is not Flow.RETURN and self._x86:
            raise self._broken(
                Rule.CALL_ORDER, departure.site,
                f"goes to {self._name(target)} instead of returning", departure.branches,
            )  # fmt: skip
        if self._x86 and self._thunks() and departure.flow is Flow.RETURN:
            self._found(
                Rule.RETURN_ADDRESS, departure.site,
                "returns by ret, where the mitigation needs the return thunk",
            )  # fmt: skip
        self._pop(target)
        goes_on = not self._original and not flags & TrampFlag.INDIRECT
        self._same(
            Rule.RETURN_ADDRESS, departure, target,
            self._into_function if goes_on else self._into_caller, "the address returned to",
        )  # fmt: skip
        if convention.link:
            self._same(
                Rule.RETURN_ADDRESS, departure, probe.get(convention.link), self._into_caller,
                "the link register",
            )  # fmt: skip
            stack = self._stack
        else:
            stack = self._beyond - (8 if goes_on else 0)
        self._same(
            Rule.STACK_BALANCE, departure, probe.get(convention.stack), stack, convention.stack
        )
        for register in convention.saved:
            self._same(
                Rule.CALLEE_SAVED, departure, probe.get(register), self._entry[register], register
            )
        if goes_on:
            if self._x86 and probe.read(stack) != self._into_caller:
                self._found(
                    Rule.RETURN_ADDRESS,
                    departure.site,
                    "the caller's return address is overwritten",
                )
            self._check_arguments(departure, self._beyond)
            if self._x86 and flags & TrampFlag.TAIL_CALL_CTX:
                self._same(
                    Rule.ARGUMENTS, departure, probe.get("rax"), self._entry["rax"],
                    "the tail call counter's address",
                )  # fmt: skip
        elif self._result is not None and self._returns_value():
            self._same(
                Rule.RETURN_VALUE, departure, probe.get(convention.result), self._result,
                "the returned value",
            )  # fmt: skip

    def _returns_value(self) -> bool:
        keeps = self._flags & (TrampFlag.CALL_ORIG | TrampFlag.RET_FENTRY_RET)
        return bool(keeps) and self.request.prototype.returns is not None


def _delivered(got: int, value: int, used: int) -> bool:
    """Whether a slot holds the value: as it came, or cut to `used` or more bytes and extended."""
    for size in range(used, 9):
        bits = 8 * size
        low = value & (1 << bits) - 1
        sign = low | (_MASK >> bits << bits if low >> bits - 1 else 0)
        if got in (low, sign):
            return True
    return False
