"""Traced calls made by interrupt handlers, and the program runs that recursion skips.

A program that is running on a CPU does not run again there (`bpf_prog->active`): the enter
function counts a miss and the image goes on without it. So a call made by an interrupt costs
less while the interrupted task is inside a program than anywhere else.
"""

from __future__ import annotations

from tramposim.errors import InputError
from tramposim.machine.guestkernel import GuestProgram
from tramposim.machine.traced import TracedWorld
from tramposim.schedule.cost import Nested, Window
from tramposim.spec import Attachment
from tramposim.study.bodies import programs_of
from tramposim.study.measure import TRACED_CALLS, WARM_CALLS
from tramposim.study.staged import StagedCalls, staged_calls
from tramposim.study.subject import Subject
from tramposim.timing import Core, time_trace

__all__ = ["nested_costs"]


def nested_costs(subject: Subject, core: Core) -> Nested:
    """What a hot call costs an interrupt handler, by where in the same call the task stands."""
    staged = staged_calls(subject, core)
    windows = []
    programs = programs_of(subject.scenario, subject.body)
    for number, program in enumerate(programs):
        spans = _spans(staged, program.name)
        cycles = _cycles_while_active(subject, core, number)
        windows += [Window(begin, end, len(spans), cycles) for begin, end in spans]
    return Nested(staged.timing.cycles_per_call, tuple(windows))


def _spans(staged: StagedCalls, program: str) -> list[tuple[float, float]]:
    """From entering to exiting a program: cycles from the begin of a steady call."""
    trace, number = staged.trace, staged.trace.call_count // 2
    first = int(trace.calls[0])
    low, high = int(trace.calls[number]), int(trace.calls[number + 1])
    origin = int(staged.stages["retired"][low - first - 1])
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


def _cycles_while_active(subject: Subject, core: Core, number: int) -> float:
    """A hot call while program `number` counts as running on this CPU."""
    programs = programs_of(subject.scenario, subject.body)
    world = TracedWorld(
        subject.kernel, subject.prototype, tuple(Attachment(program) for program in programs)
    )
    world.run(WARM_CALLS, trace=False)
    _mark_active(world, world.programs[number])
    trace = world.run(TRACED_CALLS).trace
    assert trace is not None
    return time_trace(trace, core).cycles_per_call


def _mark_active(world: TracedWorld, program: GuestProgram) -> None:
    guest = world.guest
    pointer = guest.machine.read_int(program.p + guest.runtime.structs.offset("bpf_prog.active"))
    if not pointer:
        raise InputError(f"{program.loaded.name} has no recursion word")
    guest.machine.write_int(guest.memory.percpu_address(pointer, guest.cpu.number), 1, 4)
