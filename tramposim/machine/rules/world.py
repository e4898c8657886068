"""What the interpreter sees while it is held against a code's run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import COMPARISONS
from tramposim.bpf.insn import Insn
from tramposim.bpf.outside import State
from tramposim.machine.rules.coderun import EXECUTED, MOST_EACH, CodeRun, Stopped, canonical
from tramposim.machine.rules.inputs import CALLS, Pages
from tramposim.machine.rules.invocations import Invocations
from tramposim.machine.rules.lockstep import Lockstep
from tramposim.machine.rules.parting import Differs, Undefined
from tramposim.machine.rules.probe import PAGE, STACK_SIZE
from tramposim.machine.rules.rule import Rule
from tramposim.machine.rules.traffic import Store
from tramposim.machine.rules.turn import Branch, Move
from tramposim.spec import Arch

__all__ = ["World"]

_MAX_WISHES = 200
_MAX_BRANCHES = 1000
_MAX_MOVES = 2000
_FRAME = 512


def _plain(insn: Insn) -> bool:
    """Whether no machine code for the instruction changes any eBPF register."""
    if insn.cls in (isa.ST, isa.STX):
        return insn.mode == isa.MEM
    return insn.cls in (isa.JMP, isa.JMP32) and insn.op in (*COMPARISONS, isa.JA)


class World:
    """Memory and callees of the interpreter, compared with the code's at every call.

    `stores` are those made, in order. `wishes` are (place, value): with that value there a
    branch would go the other way. `wild` tells whether an address was not canonical; `steps`
    are the instructions executed, `branches` and `moves` the first conditional
    branches and changes of registers among them.
    """

    def __init__(self, code: CodeRun, invocations: Invocations) -> None:
        self.code = code
        self.pages = Pages(code.inputs, code.mask)
        self.pages.first = code.memory.first
        self.base = code.probe.stack_base
        self.stack = bytearray(code.noise)
        self.written = np.zeros(STACK_SIZE, bool)
        self.calls = 0
        self.stores: list[Store] = []
        self.origins: dict[int, tuple[int, int]] = {}
        self.wishes: dict[tuple[tuple[int, int], int], None] = {}
        self.wild = False
        self.steps = 0
        self.branches: list[Branch] = []
        self.moves: list[Move] = []
        self.lockstep = Lockstep(code)
        self._turned = self._before = 0
        self._certain = True
        self._frames = invocations.frames
        self._entered = 0
        main = code.program.functions[0]
        # Of what the program has not written, its frame is as before: nothing else comes there.
        self._untouched = range(0)
        if self._frames and not main.private_stack:
            self._untouched = range(self._frames[0] - main.stack_depth, self._frames[0])

    def _on_stack(self, address: int, size: int) -> bool:
        return self.base <= address and address + size <= self.base + STACK_SIZE

    def _in_frame(self, address: int) -> bool:
        return any(frame - _FRAME <= address < frame for frame in self._frames)

    def load(self, address: int, size: int, into: int | None = None) -> int:
        """Memory, or the stack."""
        if self._on_stack(address, size):
            at = address - self.base
            untouched = address in self._untouched and address + size - 1 in self._untouched
            if not untouched and not self.written[at : at + size].all():
                self._adopt(address, size, into)
            return int.from_bytes(self.stack[at : at + size], "little")
        self.wild |= not canonical(address)
        value = self.pages.load(address, size)
        self.origins[value] = (address & self.code.mask, size)
        return value

    def _adopt(self, address: int, size: int, into: int | None) -> None:
        """What was never written there is what the code found."""
        at = address - self.base
        value = None if into is None else self.lockstep.loaded(address, size, into)
        if value is None or self.written[at : at + size].any():
            raise Undefined
        self.stack[at : at + size] = value.to_bytes(size, "little")
        self.written[at : at + size] = True

    def store(self, address: int, size: int, value: int) -> None:
        """Memory, or the stack."""
        if self._on_stack(address, size):
            if self.code.turns and not self._in_frame(address):
                raise Undefined
            at = address - self.base
            data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            self.stack[at : at + size] = data
            self.written[at : at + size] = True
        else:
            self.wild |= not canonical(address)
            self.pages.load(address, size)
            self.pages.store(address, size, value)
        self.stores.append((address & self.code.mask, size, False))

    def exchange(self, address: int, size: int, value: int) -> None:
        """The store of an atomic operation; the emulator does not tell of all of arm64's."""
        self.store(address, size, value)
        if self.code.program.arch is Arch.ARM64:
            self.stores[-1] = (address & self.code.mask, size, True)

    def attempt(self, address: int, size: int) -> None:
        """A compare-and-exchange that failed: code may store the old value again."""
        self.stores.append((address & self.code.mask, size, True))

    def stepped(self, function: int, index: int, state: State) -> None:
        """Hold the registers against the machine's."""
        self.steps += 1
        self._turn(function, index, state, True)
        before = self.lockstep.at
        self.lockstep.step(function, index, state)
        moved = self.lockstep.at != before
        if moved and self._certain and len(self.moves) < _MAX_MOVES:
            self.moves.append(
                Move(
                    (function, index), self.steps, self.lockstep.at, self._turned,
                    frozenset(state.defined),
                )
            )  # fmt: skip
        if moved or not _plain(self.code.program.insns[function][index]):
            # After moves that change nothing a later state may be seen where it is not yet.
            self._certain = moved
        if self.lockstep.ran_out and not self.code_should_have_come():
            self.lockstep.parted = None
            raise Undefined

    def code_should_have_come(self) -> bool:
        """Whether the code's run went on long enough to have done what the interpreter has."""
        if self.code.stopped is None:
            return True
        return self.code.stopped is Stopped.BUDGET and self.steps * MOST_EACH < EXECUTED

    def turn(self, function: int, index: int, state: State) -> None:
        """Give registers the values that the machine's were given before this branch."""
        self._before = self._turned
        self._turn(function, index, state, False)

    def _turn(self, function: int, index: int, state: State, after: bool) -> None:
        if self._turned == len(self.code.turns):
            return
        turn = self.code.turns[self._turned]
        if turn.place == (function, index) and turn.after == after:
            if self._turned >= len(self.code.doors):
                # The code went another way through this instruction than when its place was
                # learned; if a wrong one, the registers tell.
                raise Undefined
            for number, value in turn.values:
                state.set(number, value)
            self.lockstep.turned(self._turned)
            self._turned += 1

    def compared(
        self, function: int, index: int, left: int, right: int, taken: bool, state: State
    ) -> None:
        """Remember the branch, and what other inputs would make of it."""
        if len(self.branches) < _MAX_BRANCHES:
            self.branches.append(
                Branch(
                    (function, index), self.steps, taken, self.lockstep.at, self._before, right,
                    frozenset(state.defined), self._turned > self._before,
                )
            )  # fmt: skip
        for value, other in ((left, right), (right, left)):
            origin = self.origins.get(value)
            if origin is not None and len(self.wishes) < _MAX_WISHES:
                self.wishes[origin, other] = None

    def frame(self, depth: int) -> int:
        """The frame pointer that the code had."""
        number = self._entered
        self._entered += 1
        if number >= len(self._frames):
            events = self.code.events
            if not self.code_should_have_come():
                raise Undefined
            raise Differs(
                Rule.EXECUTION,
                events[self.calls].site
                if self.calls < len(events)
                else self.code.program.addresses[0],
                f"the interpreter calls a function ({depth} deep), the code does not",
            )
        return self._frames[number]

    def leave(self, frame: int) -> None:
        """What a returned function had on its stack is of no interest."""
        at = frame - self.base
        self.written[max(0, at - _FRAME) : max(0, at)] = False

    def call(self, target: int, state: State) -> int:
        """Compare with the code's call, and return what that one returned."""
        code, number = self.code, self.calls
        if number == len(code.events):
            if not self.code_should_have_come():
                raise Undefined
            raise Differs(
                Rule.HELPER_CALL, code.program.addresses[0],
                f"the interpreter calls {code.name(target)} as call {number}, the code does not",
            )  # fmt: skip
        self.calls += 1
        event = code.events[number]
        if event.target != target:
            raise Differs(
                Rule.HELPER_CALL, event.site,
                f"calls {code.name(event.target)}, the interpreter {code.name(target)}",
            )  # fmt: skip
        preserving = target in code.program.target.preserving
        for register in sorted(state.defined & set(event.registers)):
            if register == 0 or (register == code.program.target.scratch and not preserving):
                continue
            value = state.registers[register]
            if event.registers[register] != value:
                raise Differs(
                    Rule.HELPER_CALL, event.site,
                    f"calls {code.name(target)} with r{register}"
                    f" {event.registers[register]:#x}, the interpreter with {value:#x}",
                )  # fmt: skip
        self.compare_memory(event.pages, event.site, event.stack)
        self.lockstep.called(number)
        result = code.inputs.result(number)
        self.origins[result] = self.origins[result & 0xFFFFFFFF] = (CALLS + number, 8)
        return result

    def compare_memory(
        self, theirs: Mapping[int, bytes], site: int, stack: NDArray[np.uint8]
    ) -> None:
        """Raise if the code's memory is not the interpreter's."""
        pages = self.pages
        for page in sorted({*theirs, *pages.pages}):
            code = theirs.get(page) or pages.initial(page)
            ours = bytes(pages.pages.get(page) or pages.initial(page))
            if code != ours:
                offset = next(i for i in range(PAGE) if code[i] != ours[i])
                at = offset & -8
                raise Differs(
                    Rule.STORES, site,
                    f"memory at {page + at:#x} is {code[at : at + 8].hex()},"
                    f" the interpreter's {ours[at : at + 8].hex()}",
                )  # fmt: skip
        ours_stack = np.frombuffer(bytes(self.stack), np.uint8)
        wrong = np.flatnonzero(self.written & (stack != ours_stack))
        if len(wrong):
            at = self.base + int(wrong[0])
            raise Differs(
                Rule.STORES, site,
                f"the stack at {at:#x} is {int(stack[wrong[0]]):#x},"
                f" the interpreter's {int(ours_stack[wrong[0]]):#x}",
            )  # fmt: skip
