"""A run of a trampoline image: its calls one by one, each with what holds for every call.

Facts: arch_prepare_bpf_trampoline of both architectures, observed on booted kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tramposim.jit.trampoline import ENDBR_SIZE, X86_PATCH_SIZE, TrampolineRequest
from tramposim.kernel.nodes import TrampFlag
from tramposim.kernel.prototype import Passing, place_arguments
from tramposim.machine.rules.choices import Choices
from tramposim.machine.rules.listing import Flow
from tramposim.machine.rules.probe import PAGE, Departure, Probe
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.spec import Arch, Returns

__all__ = ["Broken", "ImageRun"]

_GS_BASE = 0xFFFF888237800000
_MASK = (1 << 64) - 1
_DEPTH = 0x7FFF_FF00_0000_0000


class Broken(Exception):
    """The path cannot be followed further; carries the violation."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@dataclass(slots=True)
class ImageRun:
    """The image that `request` asks for on the probe, run from call to call.

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
    _into_function: int = 0
    _into_caller: int = 0
    _chain: tuple[int, ...] = ()
    _beyond: int = 0
    _predicted: list[int] = field(default_factory=list)
    _depth: int = 0
    _counted: int = 0

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

    def _symbol(self, name: str) -> int:
        return self.request.symbols[name]

    def _argument(self, number: int) -> int:
        return self.probe.get(self.probe.convention.arguments[number])

    def _same(self, rule: Rule, departure: Departure, got: int, want: int, what: str) -> None:
        if got != want & _MASK:
            self._found(rule, departure.site, f"{what} is {got:#x}, not {want & _MASK:#x}")

    def _in_frame(
        self, rule: Rule, departure: Departure, address: int, size: int, what: str
    ) -> None:
        low = self.probe.get(self.probe.convention.stack) + (8 if self._x86 else 0)
        if not low <= address <= self._stack - size or address % 8:
            raise self._broken(
                rule, departure.site,
                f"{what} at {address:#x} is not in the frame {low:#x} to {self._stack:#x}",
            )  # fmt: skip

    def _thunks(self) -> set[int]:
        """Where a return goes if a mitigation replaces it."""
        if self.request.kernel.returns is Returns.PLAIN:
            return set()
        symbols: Mapping[str, int] = self.request.symbols
        return {value for name, value in symbols.items() if name.endswith("return_thunk")}

    def outcomes(self) -> Iterator[tuple[int, int]]:
        """(branch, next instruction) of the conditional branches that ran."""
        yield from self.probe.outcomes()
