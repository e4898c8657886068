"""Traced calls made by interrupt handlers, and the program runs that recursion skips.

A program that is running on a CPU does not run again there (`bpf_prog->active`): the enter
function counts a miss and the image goes on without it. So a call made by an interrupt costs
less while the interrupted task is inside a program than anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tramposim.errors import InputError
from tramposim.machine.guestkernel import GuestProgram
from tramposim.machine.traced import TracedFunction
from tramposim.schedule.cost import Nested, Window
from tramposim.study.costs import NO_COSTS
from tramposim.study.measure import execute_world, settle
from tramposim.study.staged import StagedCalls, stage
from tramposim.study.subject import Subject
from tramposim.timing import Core

__all__ = ["nested_costs"]


def nested_costs(
    subject: Subject,
    core: Core,
    attach: Callable[[], TracedFunction],
    costs: Mapping[str, float] = NO_COSTS,
) -> Nested:
    """What a hot call costs an interrupt handler, by where in the same call the task stands.

    `attach` makes a kernel with the subject's programs attached, not yet called; `costs` are
    stated cycles of helpers.
    """
    world = attach()
    executed = execute_world(subject, world, costs)
    staged = stage(executed, core)
    windows = []
    for number, program in enumerate(world.programs):
        spans = _spans(staged, program.loaded.name)
        busy = attach()
        settle(busy)
        _mark_active(busy, busy.programs[number])
        cycles = execute_world(subject, busy, costs).timed(core).cycles_per_call
        windows += [Window(begin, end, len(spans), cycles) for begin, end in spans]
    stated = executed.attached.stated_cycles_per_call
    return Nested(staged.timing.cycles_per_call + stated, tuple(windows))


def _spans(staged: StagedCalls, program: str) -> list[tuple[float, float]]:
    """From entering to exiting a program: cycles from the begin of a steady call."""
    trace, number = staged.trace, staged.trace.call_count // 2
    first = int(trace.calls[0])
    low, high = int(trace.calls[number]), int(trace.calls[number + 1])
    origin = int(staged.stages["retired"][low - first - 1]) if number else 0
    spans: list[tuple[float, float]] = []
    begin = 0.0
    pcs = [int(pc) for pc in trace.pcs[low:high]]
    for index, (part, name, _) in enumerate(staged.places.walk(pcs)):
        if name != program:
            continue
        at = float(staged.stages["retired"][low - first + index] - origin)
        if part.startswith("enter "):
            begin = at
        elif part.startswith("exit "):
            if spans and spans[-1][0] == begin:
                spans.pop()
            spans.append((begin, at))
    return spans


def _mark_active(world: TracedFunction, program: GuestProgram) -> None:
    guest = world.guest
    pointer = guest.machine.read_int(program.p + guest.runtime.structs.offset("bpf_prog.active"))
    if not pointer:
        raise InputError(f"{program.loaded.name} has no recursion word")
    guest.machine.write_int(guest.memory.percpu_address(pointer, guest.cpu.number), 1, 4)
