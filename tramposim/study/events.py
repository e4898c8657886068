"""What befell executed instructions in pairs: calls and returns, stores and loads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim.errors import InputError
from tramposim.machine.disassembly import disassemble
from tramposim.machine.trace import STORE, Trace
from tramposim.timing import Core
from tramposim.timing.decode import decode_one
from tramposim.timing.uops import Branch

__all__ = ["CostEvent", "InstructionNames", "cost_events"]


_ADDRESS = re.compile(r"#?\b(0x[0-9a-f]{9,16})\b")


@dataclass(frozen=True, slots=True)
class CostEvent:
    """Something that befell a pair of instructions: `per_call` times on average.

    `kind` is `return mispredict`, `indirect mispredict`, `conditional mispredict`, `store
    blocked` (the load waits for the store to reach the cache), `store forwarded` or `store
    renamed` (known before the load has its address). `first` and `second` are the two
    instructions (call and return, store and load) with their places.
    """

    kind: str
    per_call: float
    first: str
    second: str


class InstructionNames:
    """Instructions as text with their place, made once per address."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._texts: dict[int, tuple[str, str]] = {}

    def __call__(self, address: int) -> str:
        """The instruction with the function and offset that it stands at."""
        return " ".join(self._look_up(address))

    def text(self, address: int) -> str:
        """The instruction alone."""
        return self._look_up(address)[0]

    def place(self, address: int) -> str:
        """The function and offset alone."""
        return self._look_up(address)[1].strip("()")

    def _look_up(self, address: int) -> tuple[str, str]:
        found = self._texts.get(address)
        if found is None:
            region = self._trace.region_of(address)
            at = address - region.address
            one = next(disassemble(self._trace.arch, region.code[at : at + 15], address))
            text = _ADDRESS.sub(self._target, f"{one.mnemonic} {one.operands}".rstrip())
            found = self._texts[address] = (text, f"({region.name}+{at:#x})")
        return found

    def _target(self, address: re.Match[str]) -> str:
        """The function that an address lies in, the text itself if it lies in none."""
        try:
            region = self._trace.region_of(int(address[1], 16))
        except InputError:
            return address[0]
        offset = int(address[1], 16) - region.address
        return region.name + (f"+{offset:#x}" if offset else "")


def cost_events(trace: Trace, stages: NDArray[np.void], core: Core) -> Iterator[CostEvent]:
    """The events of the trace's whole calls, the costliest kinds first.

    `stages` (dtype `timing.STAGES`) are those of the whole calls.
    """
    name = InstructionNames(trace)
    counts: Counter[tuple[str, str, str]] = Counter()
    counts.update(_mispredicts(trace, stages, core, name))
    counts.update(_forwards(trace, stages, name))
    order = ("return mispredict", "indirect mispredict", "conditional mispredict",
             "store blocked", "store forwarded", "store renamed")  # fmt: skip
    for kind, first, second in sorted(counts, key=lambda key: (order.index(key[0]), key)):
        yield CostEvent(kind, counts[kind, first, second] / trace.call_count, first, second)


_MISPREDICTS = {
    Branch.RETURN: "return mispredict",
    Branch.INDIRECT_JUMP: "indirect mispredict",
    Branch.INDIRECT_CALL: "indirect mispredict",
    Branch.CONDITIONAL: "conditional mispredict",
}


def _mispredicts(
    trace: Trace, stages: NDArray[np.void], core: Core, name: InstructionNames
) -> Iterator[tuple[str, str, str]]:
    """Mispredicted branches; with a return the call whose address the return stack held."""
    first, last = int(trace.calls[0]), int(trace.calls[-1])
    kinds: dict[int, Branch] = {}
    stack: list[int] = []
    depth = int(core.branches.return_stack.value)
    # The pass before the recorded one leaves its calls on the return stack.
    for recorded in (False, True):
        for at in range(first, last):
            pc = int(trace.pcs[at])
            kind = kinds.get(pc)
            if kind is None:
                region = trace.region_of(pc)
                code = region.code[pc - region.address :][:15]
                kind = kinds[pc] = decode_one(trace.arch, code, pc).branch
            if kind in (Branch.CALL, Branch.INDIRECT_CALL):
                stack = [*stack[-depth + 1 :], pc]
            pushed = stack.pop() if kind is Branch.RETURN and stack else None
            if recorded and stages["mispredicted"][at - first]:
                held = name(pushed) if pushed is not None else "the return stack was empty"
                yield _MISPREDICTS[kind], held if kind is Branch.RETURN else "", name(pc)


def _forwards(
    trace: Trace, stages: NDArray[np.void], name: InstructionNames
) -> Iterator[tuple[str, str, str]]:
    """Loads that met a store: the pair, and how the value came over."""
    first = int(trace.calls[0])
    writer: dict[int, int] = {}
    for access in trace.accesses:
        at = int(access["insn"])
        if at >= int(trace.calls[-1]):
            break
        address, size = int(access["address"]), int(access["size"])
        pc = int(trace.pcs[at])
        if access["flags"] & STORE:
            writer.update(dict.fromkeys(range(address, address + size), pc))
            continue
        if at < first:
            continue
        stage = stages[at - first]
        kind = ""
        if stage["blocked"]:
            kind = "store blocked"
        elif stage["memory_renamed"]:
            kind = "store renamed"
        elif stage["forwarded"]:
            kind = "store forwarded"
        stores = {writer[byte] for byte in range(address, address + size) if byte in writer}
        for store in sorted(stores) if kind else ():
            yield kind, name(store), name(pc)
