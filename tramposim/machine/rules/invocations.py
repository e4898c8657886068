"""Which call of which function of a program every executed instruction belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tramposim.machine.rules.coderun import CodeRun
from tramposim.machine.rules.listing import Flow

__all__ = ["Invocations", "invocations_of"]


@dataclass(slots=True)
class Invocations:
    """The calls of a program's functions, numbered in their order; the program itself is 0.

    `frames` are the eBPF frame pointers, `functions` the functions' numbers, `callers` the
    calls that they were made in (that of 0 is itself). `owners` gives the call for each
    executed instruction, empty if registers were not watched. `last_entry` is the stack
    pointer at the beginning of the last call, if that is not 0, and `open` how many calls had
    not returned at the end.
    """

    frames: list[int]
    functions: list[int] = field(default_factory=lambda: [0])
    callers: list[int] = field(default_factory=lambda: [0])
    owners: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    last_entry: int | None = None
    open: int = 1


def invocations_of(code: CodeRun) -> Invocations:
    """Find the calls in what ran.

    A frame pointer is what its register held most of the time since it changed, except on
    private stacks, whose places are known.
    """
    probe, program = code.probe, code.program
    segments = [s for s in probe.segments if s.stack is not None]
    if not segments or len(segments) != len(probe.segments):
        return Invocations([probe.stack_top - 16])
    pcs = np.concatenate([segment.pcs for segment in segments])
    found = _followed(code, pcs)
    stacks = np.concatenate([s.stack for s in segments if s.stack is not None])
    owners = found.owners
    if len(owners) and owners[-1]:
        found.last_entry = int(stacks[np.flatnonzero(owners == owners[-1])[0]])
    values = {
        name: np.concatenate([segment.followed[name] for segment in segments])
        for name in set(program.frames)
    }
    percpu = code.percpu
    for invocation, function in enumerate(found.functions):
        name = program.frames[function]
        private = program.private_frame(function, percpu)
        if private is not None:
            found.frames.append(private)
            continue
        held = values[name][owners == invocation]
        if not len(held):
            found.frames.append(probe.stack_top - 16)
            continue
        if name not in probe.convention.saved:
            found.frames.append(int(held[-1]))
            continue
        changed = held[held != held[0]]
        seen, counts = np.unique(changed if len(changed) else held, return_counts=True)
        found.frames.append(int(seen[counts.argmax()]))
    return found


def _followed(code: CodeRun, pcs: NDArray[np.uint64]) -> Invocations:
    """The calls and returns between a program's functions, without frame pointers."""
    program, listing = code.program, code.probe.listing
    found = Invocations([], owners=np.zeros(len(pcs), np.intp))
    if len(program.functions) == 1:
        return found
    starts = {address: n for n, address in enumerate(program.addresses) if n}
    flows = {address: listing.flow(address) for address in set(pcs.tolist())}
    flows |= dict.fromkeys(code.returns, Flow.RETURN)
    stack, last = [0], Flow.NONE
    for index, pc in enumerate(pcs.tolist()):
        if last is Flow.CALL and pc in starts:
            found.callers.append(stack[-1])
            stack.append(len(found.functions))
            found.functions.append(starts[pc])
        elif len(stack) > 1 and last is Flow.RETURN:
            stack.pop()
        found.owners[index] = stack[-1]
        last = flows[pc]
    found.open = len(stack)
    return found
