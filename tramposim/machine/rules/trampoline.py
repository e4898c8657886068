"""Trampolines: one way through an image, every call out of it checked against what it should be.

What must hold is stated in terms of the calls that an image makes, so it holds for any code
that keeps the kernel's protocol, not only for what the known JITs emit. Facts:
arch_prepare_bpf_trampoline of both architectures, observed on booted kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tramposim.jit.trampoline import ENDBR_SIZE, X86_PATCH_SIZE, TrampolineRequest
from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.kernel.prototype import Passing, place_arguments
from tramposim.machine.rules.accesses import check_accesses
from tramposim.machine.rules.choices import Choices
from tramposim.machine.rules.listing import Flow
from tramposim.machine.rules.probe import PAGE, Departure, Probe
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.spec import Arch, ProgKind, Returns

__all__ = ["Broken", "ImagePath", "enter_exit"]

_META_COOKIE, _META_RETURN = 8, 63
_RUN_CTX_SIZE = 16
_GS_BASE = 0xFFFF888237800000
_MASK = (1 << 64) - 1
_DEPTH = 0x7FFF_FF00_0000_0000


class Broken(Exception):
    """The path cannot be followed further; carries the violation."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


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
class ImagePath:
    """One way through the image that `request` asks for, executed by `run`.

    `without` is a program (its p) that is patched out. `violations` are what was found;
    `return_stack` says which returns do not match the last call, as a return-stack predictor
    sees it.
    """

    request: TrampolineRequest
    probe: Probe
    choices: Choices
    without: int | None = None
    violations: list[Violation] = field(default_factory=list)
    return_stack: list[str] = field(default_factory=list)

    _entry: dict[str, int] = field(default_factory=dict)
    _stack: int = 0
    _arguments: list[tuple[Passing, int]] = field(default_factory=list)
    _pc: int = 0
    _result: int | None = 0
    _into_function: int = 0
    _into_caller: int = 0
    _chain: tuple[int, ...] = ()
    _beyond: int = 0
    _sessions: dict[int, _Session] = field(default_factory=dict)
    _predicted: list[int] = field(default_factory=list)
    _depth: int = 0
    _counted: int = 0

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

    # The way

    @property
    def _flags(self) -> TrampFlag:
        return self.request.flags

    @property
    def _original(self) -> bool:
        return bool(self._flags & TrampFlag.CALL_ORIG)

    @property
    def _jumped(self) -> bool:
        """Whether the traced function jumps to the image instead of calling it."""
        skips = self._flags & (TrampFlag.SKIP_FRAME | TrampFlag.INDIRECT)
        return self._x86 and self._original and not skips

    @property
    def _x86(self) -> bool:
        return self.request.kernel.arch is Arch.X86_64

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

    def _start(self) -> None:
        """Registers, stack and memory as the traced function's entry leaves them."""
        probe, request = self.probe, self.request
        self._entry = entry = probe.reset()
        placed = place_arguments(request.prototype.arguments, request.kernel.arch).slots
        self._arguments = [(slot, probe.noise()) for slot in placed]
        traced = not self._flags & TrampFlag.INDIRECT
        self._into_caller = 0xFFFFFFFF81000000 | probe.random.getrandbits(20) << 4
        self._into_function = request.func_addr + self._entry_bytes()
        values = {
            probe.convention.arguments[slot.register]: value
            for slot, value in self._arguments
            if slot.register is not None
        }
        stack = probe.stack_top
        values[probe.convention.frame] = stack + 512
        self._predicted = [self._into_caller]
        if self._x86:
            beyond = stack
            stack -= 8
            probe.write(stack, self._into_caller)
            if traced and not self._jumped:
                stack -= 8
                probe.write(stack, self._into_function)
                self._predicted.append(self._into_function)
            values["rsp"] = stack
            values["gs_base"] = _GS_BASE
        else:
            beyond = stack
            values["x9"], values["x30"] = self._into_caller, self._into_function
            if traced:
                self._predicted.append(self._into_function)
            else:
                values["x9"], values["x30"] = entry["x9"], self._into_caller
        for slot, value in self._arguments:
            if slot.stack is not None:
                probe.write(beyond + 8 * slot.stack, value)
        self._beyond = beyond
        if traced and not self._x86:
            self._chain = (self._into_function, self._into_caller)
        elif traced and not self._jumped:
            self._chain = (self._into_function,)
        else:
            self._chain = (self._into_caller,)
        entry |= values
        self._stack = stack
        probe.set(values)
        self._count_calls()
        self._pc = request.image

    def _entry_bytes(self) -> int:
        """Bytes of the traced function up to the end of its patched entry."""
        request = self.request
        if self._x86:
            return X86_PATCH_SIZE + (ENDBR_SIZE if request.func_has_endbr else 0)
        return 12 if request.kernel.bti else 8

    def _count_calls(self) -> None:
        """The call depth counter, if the kernel tracks calls."""
        if not self._x86 or self.request.kernel.returns is not Returns.STUFFING:
            return
        counter = self.request.symbols.get("__x86_call_depth")
        if counter is None:
            return
        self._depth = (counter + _GS_BASE) & _MASK
        page = self._depth // PAGE * PAGE
        if not self.probe.readable(self._depth):
            self.probe.add_memory(page, bytes(PAGE))
        self.probe.write(self._depth, _DEPTH)

    # Calls out of the image

    def _go(self) -> Departure:
        departure = self.probe.go(self._pc)
        if departure.problem:
            rule = Rule.MEMORY if departure.size else Rule.EXECUTION
            if departure.reason == "protected-write":
                rule = Rule.FRAME_WRITES
            detail = departure.problem
            if departure.size:
                detail += f": {departure.size} bytes at {departure.address:#x}"
            raise self._broken(rule, departure.site, detail, departure.branches)
        return departure

    def _broken(
        self, rule: Rule, address: int, detail: str, branches: tuple[tuple[int, int], ...] = ()
    ) -> Broken:
        return Broken(self._violation(rule, address, detail, branches))

    def _violation(
        self, rule: Rule, address: int, detail: str, branches: tuple[tuple[int, int], ...] = ()
    ) -> Violation:
        if self.without is not None:
            detail = f"{rule}: {detail} (program {self.without:#x} patched out)"
            rule = Rule.PATCHED_OUT
        return Violation(
            rule, address, detail, self.probe.listing.text(address), self.choices.name, branches
        )

    def _name(self, address: int) -> str:
        for name, value in self.request.symbols.items():
            if value == address:
                return f"{address:#x} ({name})"
        for node in (*self.request.fentry, *self.request.fmod_ret, *self.request.fexit):
            if node.bpf_func == address:
                return f"{address:#x} (program {node.name})"
        if address == self._into_function:
            return f"{address:#x} (the traced function)"
        if address == self._into_caller:
            return f"{address:#x} (the caller)"
        return f"{address:#x}"

    def _expect(self, target: int, what: str, rule: Rule) -> Departure:
        """Run on to the next call; it must go to `target`, in good order."""
        departure = self._go()
        if departure.target != target:
            raise self._broken(
                rule if departure.flow is Flow.CALL else Rule.CALL_ORDER,
                departure.site,
                f"goes to {self._name(departure.target)} instead of calling {what}",
                departure.branches,
            )
        probe, convention = self.probe, self.probe.convention
        link = convention.link
        back = probe.get(link) if link else probe.read(self._stack_pointer(departure))
        if back not in probe.listing or back not in probe.listing.at:
            raise self._broken(
                Rule.RETURN_ADDRESS, departure.site,
                f"calls {what} with return address {back:#x}", departure.branches,
            )  # fmt: skip
        self._predict(departure, back)
        stack = probe.get(convention.stack) + (8 if self._x86 else 0)
        if stack % convention.alignment:
            self._found(
                Rule.STACK_ALIGNMENT, departure.site,
                f"calls {what} with {convention.stack} {stack:#x},"
                f" no multiple of {convention.alignment}",
            )  # fmt: skip
        self._check_chain(departure, what)
        self._check_depth(departure, target, what)
        self._pc = back
        return departure

    def _stack_pointer(self, departure: Departure) -> int:
        pointer = self.probe.get(self.probe.convention.stack)
        if not self.probe.stack_base <= pointer <= self.probe.stack_top:
            raise self._broken(
                Rule.STACK_BALANCE, departure.site, f"the stack pointer is {pointer:#x}"
            )
        return pointer

    def _found(self, rule: Rule, address: int, detail: str) -> None:
        self.violations.append(self._violation(rule, address, detail))

    def _predict(self, departure: Departure, back: int) -> None:
        """What a return-stack predictor makes of a departure and of the callee's return."""
        if departure.flow is Flow.RETURN:
            self._pop(departure.target)
        elif departure.flow is Flow.CALL:
            self._predicted.append(back)
        self._pop(back)

    def _pop(self, target: int) -> None:
        top = self._predicted.pop() if self._predicted else None
        if top != target:
            to = f"the return to {self._name(target)}"
            if top is None:
                self.return_stack.append(f"{to} has no call")
            else:
                self.return_stack.append(f"{to} meets the call that returns to {self._name(top)}")

    def _check_chain(self, departure: Departure, what: str) -> None:
        probe = self.probe
        frame = probe.get(probe.convention.frame)
        for back in self._chain:
            if not (probe.stack_base <= frame < self._stack) or frame % 8:
                self._found(
                    Rule.FRAME_CHAIN, departure.site,
                    f"at the call of {what} {probe.convention.frame} leads to {frame:#x},"
                    " no frame of this stack",
                )  # fmt: skip
                return
            if probe.read(frame + 8) != back:
                self._found(
                    Rule.FRAME_CHAIN, departure.site,
                    f"at the call of {what} the frame at {frame:#x} returns to"
                    f" {self._name(probe.read(frame + 8))}, not to {self._name(back)}",
                )  # fmt: skip
                return
            frame = probe.read(frame)
        if frame != self._entry[probe.convention.frame]:
            self._found(
                Rule.FRAME_CHAIN, departure.site,
                f"at the call of {what} the frames lead to {frame:#x}, not to the caller's",
            )  # fmt: skip

    def _check_depth(self, departure: Departure, target: int, what: str) -> None:
        """One more is counted for each call, unless the callee counts itself."""
        if not self._depth:
            return
        padded = {self.request.symbols.get(name) for name in self.request.padded}
        expected = 0 if target in padded else 1
        if not self._counted and not self._flags & TrampFlag.INDIRECT:
            expected += 1
        value = self.probe.read(self._depth)
        counted, depth = 0, _DEPTH
        while depth != value and counted < 4:
            depth >>= 5
            counted += 1
        if counted != expected:
            self._found(
                Rule.CALL_DEPTH, departure.site,
                f"{counted} calls are counted before {what} is called, not {expected}",
            )  # fmt: skip
        self._counted = 1
        self.probe.write(self._depth, _DEPTH)

    def _tramp(self, name: str) -> None:
        departure = self._expect(self._symbol(name), f"{name}(im)", Rule.TRAMP_ENTER_EXIT)
        self._same(
            Rule.TRAMP_ENTER_EXIT, departure, self._argument(0), self.request.im, f"im of {name}"
        )
        self.probe.callee_returns(self.probe.noise())

    def _symbol(self, name: str) -> int:
        return self.request.symbols[name]

    def _argument(self, number: int) -> int:
        return self.probe.get(self.probe.convention.arguments[number])

    def _same(self, rule: Rule, departure: Departure, got: int, want: int, what: str) -> None:
        if got != want & _MASK:
            self._found(rule, departure.site, f"{what} is {got:#x}, not {want & _MASK:#x}")

    # Programs

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

    def _in_frame(
        self, rule: Rule, departure: Departure, address: int, size: int, what: str
    ) -> None:
        low = self.probe.get(self.probe.convention.stack) + (8 if self._x86 else 0)
        if not low <= address <= self._stack - size or address % 8:
            raise self._broken(
                rule, departure.site,
                f"{what} at {address:#x} is not in the frame {low:#x} to {self._stack:#x}",
            )  # fmt: skip

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

    # The original function, and back

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

    def _thunks(self) -> set[int]:
        """Where a return goes if a mitigation replaces it."""
        if self.request.kernel.returns is Returns.PLAIN:
            return set()
        symbols: Mapping[str, int] = self.request.symbols
        return {value for name, value in symbols.items() if name.endswith("return_thunk")}

    def outcomes(self) -> Iterator[tuple[int, int]]:
        """(branch, next instruction) of the conditional branches that ran."""
        yield from self.probe.outcomes()


def _delivered(got: int, value: int, used: int) -> bool:
    """Whether a slot holds the value: as it came, or cut to `used` or more bytes and extended."""
    for size in range(used, 9):
        bits = 8 * size
        low = value & (1 << bits) - 1
        sign = low | (_MASK >> bits << bits if low >> bits - 1 else 0)
        if got in (low, sign):
            return True
    return False
