"""How a compiled program ends: registers, stack and where it goes, by the calling convention."""

from __future__ import annotations

from tramposim.bpf.outside import TailCalled
from tramposim.machine.rules.accesses import check_accesses
from tramposim.machine.rules.coderun import CALLER, CodeRun
from tramposim.machine.rules.invocations import Invocations
from tramposim.machine.rules.listing import Flow
from tramposim.machine.rules.parting import Differs
from tramposim.machine.rules.probe import Departure
from tramposim.machine.rules.rule import Rule
from tramposim.machine.rules.signing import check_signing
from tramposim.spec import Arch

__all__ = ["check_end", "compare_tail", "tail_calls"]

_MASK = (1 << 64) - 1


def tail_calls(code: CodeRun, end: Departure) -> bool:
    """Whether the code ends in a jump that is no return."""
    return end.flow is Flow.JUMP and end.target not in code.program.thunks


def check_end(code: CodeRun, end: Departure, calls: Invocations) -> None:
    """Note what is broken at the end; raises `Differs` if the code does not return."""
    if end.target in code.program.target.noreturn:
        return
    tail = tail_calls(code, end)
    if not tail:
        _check_return(code, end)
    _check_registers(code, end, calls, tail)
    if code.program.signed:
        left = calls.open if tail else 0
        code.violations += check_signing(code.probe, code.probe.segments, True, left, code.path)
    code.violations += check_accesses(code.probe, code.probe.segments, [(0, _MASK)], code.path)


def _check_return(code: CodeRun, end: Departure) -> None:
    probe, convention, target = code.probe, code.probe.convention, end.target
    if end.flow is Flow.JUMP:
        pointer = probe.get(convention.stack)
        if not probe.stack_base <= pointer < probe.stack_top:
            raise Differs(Rule.STACK_BALANCE, end.site, f"returns with stack {pointer:#x}")
        target = probe.read(pointer)
        probe.set({convention.stack: pointer + 8})
    elif end.flow is not Flow.RETURN:
        raise Differs(Rule.EXECUTION, end.site, f"goes to {code.name(target)} without a call")
    elif code.program.thunks:
        code.found(
            Rule.RETURN_ADDRESS, end.site,
            "returns by ret, where the mitigation needs the return thunk",
        )  # fmt: skip
    if target != CALLER:
        raise Differs(Rule.RETURN_ADDRESS, end.site, f"returns to {target:#x}, not its caller")


def _check_registers(code: CodeRun, end: Departure, calls: Invocations, tail: bool) -> None:
    probe, convention = code.probe, code.probe.convention
    x86 = code.program.arch is Arch.X86_64
    stack, saved = probe.stack_top, list(convention.saved)
    if tail:
        # The next program goes on behind the pushes of its prologue.
        if calls.last_entry is not None:
            stack = calls.last_entry
            saved = []
        elif x86:
            stack -= 8
        stack -= 8 if x86 else 32
        kept = {"rbp"} if x86 else {"x26", "x29"}
        saved = [name for name in saved if name not in kept]
    if probe.get(convention.stack) != stack:
        code.found(
            Rule.STACK_BALANCE, end.site,
            f"{convention.stack} is {probe.get(convention.stack):#x}, not {stack:#x}",
        )  # fmt: skip
    for name in saved:
        if probe.get(name) != code.entry[name]:
            code.found(
                Rule.CALLEE_SAVED, end.site,
                f"{name} is {probe.get(name):#x}, was {code.entry[name]:#x}",
            )  # fmt: skip


def compare_tail(code: CodeRun, end: Departure, tail: TailCalled) -> None:
    """Raise unless the code ends in the interpreter's tail call."""
    probe, program = code.probe, code.program
    target = end.target
    if not tail_calls(code, end):
        raise Differs(
            Rule.TAIL_CALL, end.site,
            f"returns, the interpreter continues at {code.name(tail.target)}",
        )  # fmt: skip
    if target in program.indirect:
        target = probe.get(program.tail_register)
    if target != tail.target:
        raise Differs(
            Rule.TAIL_CALL, end.site,
            f"continues at {code.name(target)}, the interpreter at {code.name(tail.target)}",
        )  # fmt: skip
    context = probe.get(probe.convention.arguments[0])
    if context != tail.context:
        raise Differs(
            Rule.TAIL_CALL, end.site, f"passes context {context:#x}, not {tail.context:#x}"
        )
