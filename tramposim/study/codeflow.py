"""Data flow over machine code: what is reached, which registers something depends on later."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from tramposim.machine.disassembly import Instruction
from tramposim.machine.rules.convention import CONVENTIONS
from tramposim.machine.rules.listing import Flow, flow_of
from tramposim.spec import Arch
from tramposim.study.effects import acts, constant_of, effect_of
from tramposim.study.mutants import Decoded, decode_code

__all__ = ["CodeFlow", "convention_of"]


class CodeFlow:
    """Reachability and liveness of one piece of code with its entry offsets.

    `passes_arguments`: the argument registers are read behind its end. `alone`: no other
    function belongs to the program.
    """

    def __init__(
        self,
        arch: Arch,
        code: bytes,
        address: int,
        entries: Iterable[int] = (0,),
        passes_arguments: bool = True,
        alone: bool = True,
    ) -> None:
        self.alone = alone
        self.arch = arch
        self.passes_arguments = passes_arguments
        self.address = address
        self.decoded = decode_code(arch, code, address)
        self.index = {one.offset: number for number, one in enumerate(self.decoded)}
        self.effects = [effect_of(arch, one) for one in self.decoded]
        self.successors = [self._next(number) for number in range(len(self.decoded))]
        self.entries = [self.index[offset] for offset in entries if offset in self.index]
        self.reachable = self._reach(entries)
        self.before: list[frozenset[str]] = []
        self.live = self._liveness()
        self._leaders = self._find_leaders()
        self.constants = self._find_constants()

    def _find_constants(self) -> list[dict[str, int]]:
        """Registers that hold one and the same constant whenever an instruction is reached."""
        _, _, clobbered = convention_of(self.arch, self.passes_arguments)
        found: list[dict[str, int] | None] = [None] * (len(self.decoded) + 1)
        todo = [number for number in self.entries if number < len(self.decoded)]
        for number in todo:
            found[number] = {}
        while todo:
            number = todo.pop()
            state = dict(found[number] or {})
            effect, constant = self.effects[number], constant_of(self.decoded[number])
            for register in effect.writes | (clobbered if self.calls(number) else set()):
                state.pop(register, None)
            if constant is not None:
                state[constant[0]] = constant[1]
            for successor in self.successors[number]:
                old = found[successor]
                new = state if old is None else dict(old.items() & state.items())
                if new != old:
                    found[successor] = new
                    todo.append(successor)
        return [state or {} for state in found]

    def block(self, number: int) -> tuple[int, int]:
        """First instruction of the basic block around one, and the one that ends it or the
        next block begins with (which the block does not include)."""
        first = number
        while first and first not in self._leaders:
            first -= 1
        last = number + 1
        while last < len(self.decoded) and last not in self._leaders:
            if self.effects[last].control:
                break
            last += 1
        return first, min(last, len(self.decoded))

    def _find_leaders(self) -> set[int]:
        """Instructions that control may come to from anywhere but the one before."""
        found = {0}
        for number, targets in enumerate(self.successors):
            if self.effects[number].control:
                found.update((*targets, number + 1))
        return found

    def _next(self, number: int) -> tuple[int, ...]:
        one = self.decoded[number]
        insn = one.insn
        flow = flow_of(self.arch, Instruction(insn.address, one.code, insn.mnemonic, insn.op_str))
        after = self.index.get(one.offset + len(one.code))
        follow = () if after is None else (after,)
        if flow is Flow.RETURN:
            # An image calls the original function by `ret x10`: what follows an adr goes on.
            text = [d.insn.mnemonic for d in self.decoded[max(0, number - 1) : number]]
            return follow if text == ["adr"] else ()
        target = self._target(one)
        if flow is Flow.JUMP:
            return () if target is None else (target,)
        if flow is Flow.CONDITIONAL:
            return follow if target is None else (*follow, target)
        if flow is Flow.CALL and target is not None:
            return (*follow, target)
        return follow

    def _target(self, one: Decoded) -> int | None:
        text = one.insn.op_str.split(",")[-1].strip().lstrip("#")
        try:
            place = int(text, 16)
        except ValueError:
            return None
        return self.index.get(place - self.address)

    def _reach(self, entries: Iterable[int]) -> set[int]:
        todo = [self.index[offset] for offset in entries if offset in self.index]
        seen: set[int] = set()
        while todo:
            number = todo.pop()
            if number not in seen:
                seen.add(number)
                todo.extend(self.successors[number])
        return seen

    def _liveness(self) -> list[frozenset[str]]:
        """Registers that something depends on later, behind each instruction: what is read
        only to compute values that nothing depends on does not count."""
        ends, calls, clobbered = convention_of(self.arch, self.passes_arguments)
        before: list[frozenset[str]] = [frozenset()] * len(self.decoded)
        behind: list[frozenset[str]] = [frozenset()] * len(self.decoded)
        changed = True
        while changed:
            changed = False
            for number in reversed(range(len(self.decoded))):
                effect = self.effects[number]
                out: set[str] = set()
                for successor in self.successors[number]:
                    out |= before[successor]
                if not self.successors[number] or (effect.control and self._leaves(number)):
                    out |= ends
                behind[number] = frozenset(out)
                kept = out - (effect.writes - effect.partial)
                if self.calls(number):
                    kept = (kept - clobbered) | calls
                if effect.writes & out or acts(effect) or self.calls(number):
                    value = frozenset(kept | effect.reads | effect.partial)
                else:
                    # A load that nothing depends on may still fault.
                    value = frozenset(out | effect.addresses)
                if value != before[number]:
                    before[number] = value
                    changed = True
        self.before = [*before, frozenset()]
        return behind

    def calls(self, number: int) -> bool:
        """Whether an instruction calls, or continues elsewhere to come back."""
        one = self.decoded[number]
        insn = one.insn
        flow = flow_of(self.arch, Instruction(insn.address, one.code, insn.mnemonic, insn.op_str))
        return flow is Flow.CALL or (flow is Flow.RETURN and bool(self.successors[number]))

    def _leaves(self, number: int) -> bool:
        """Whether a branch may go where this code does not."""
        one = self.decoded[number]
        return self._target(one) is None and not self.calls(number)


@cache
def convention_of(
    arch: Arch, passes_arguments: bool
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Registers read at the end, read by calls, and changed by calls."""
    known = CONVENTIONS[arch]
    kept = {*known.saved, known.stack}
    link = {known.link} if known.link else set()
    ends = {known.result, *kept, *link, *(known.arguments if passes_arguments else ())}
    # Callees read the verifier's scratch register (x9, r10) and x86_64's tail call counter.
    calls = {*known.arguments, known.stack, known.frame, known.result, "x9", "r10"}
    return frozenset(ends), frozenset(calls), frozenset(set(known.volatile) | {"flags"})
