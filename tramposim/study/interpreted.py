"""Programs on the reference interpreter, as attached to a traced function."""

from __future__ import annotations

from functools import partial

from tramposim.bpf.host import PID_TGID, Host, TracedCall
from tramposim.bpf.text import COMM
from tramposim.kernel.structs import structs
from tramposim.machine.target import function_result
from tramposim.machine.traced import Cell
from tramposim.spec import Arch, ProgKind, Program
from tramposim.study.call import FunctionCall
from tramposim.study.engines import (
    EngineRun,
    MapContents,
    ProgramRun,
    Returned,
    Task,
    Traced,
    World,
    Worlds,
)

__all__ = ["interpret"]

FUNC_IP = 0xFFFFFFFF81400000
"""Address of the traced function in a world that no machine made."""

_ENTRY = (ProgKind.FENTRY, ProgKind.FENTRY_MULTI, ProgKind.FSESSION, ProgKind.FSESSION_MULTI)
_EXIT = (ProgKind.FEXIT, ProgKind.FEXIT_MULTI, ProgKind.FSESSION, ProgKind.FSESSION_MULTI)


def interpret(task: Task, worlds: Worlds | None = None) -> EngineRun:
    """Run a task; with `worlds` functions and their arguments lie where they lie there.

    Raises what `tramposim.bpf.host.Host.run` raises.
    """
    host = Host()
    if worlds is None:
        host.place_task(_task())
    else:
        host.place_task(worlds.task_content, worlds.task)
    for program in task.programs:
        host.declare(program.maps)
    calls = [
        _Call(host, traced, task.budget, worlds.functions[traced.name] if worlds else None)
        for traced in task.traced
    ]
    runs: list[ProgramRun] = []
    returned = []
    for number in range(1, task.calls + 1):
        add = partial(_add, runs, number)
        for program in task.alone:
            add(program.name, "run", _run_alone(host, program, task))
        for call in calls:
            returned.append(Returned(number, call.traced, call.slots, call.run(add)))
    maps = tuple(MapContents(made.declared, dict(made.items())) for made in host.maps.values())
    output, notes = tuple(host.output), tuple(host.notes)
    return EngineRun("interp", tuple(returned), tuple(runs), output, maps, notes)


def _task() -> bytes:
    """A struct task_struct with what its helpers say of it, as on x86_64."""
    layout = structs(Arch.X86_64)
    content = bytearray(layout.sizes["task_struct"])
    for member, value in (
        ("pid", (PID_TGID & 0xFFFFFFFF).to_bytes(4, "little")),
        ("tgid", (PID_TGID >> 32).to_bytes(4, "little")),
        ("comm", COMM),
    ):
        at = layout.offset(f"task_struct.{member}")
        content[at : at + len(value)] = value
    return bytes(content)


def _add(runs: list[ProgramRun], call: int, name: str, when: str, value: int) -> None:
    runs.append(ProgramRun(call, name, when, value))


def _slots(host: Host, function: FunctionCall, world: World | None) -> tuple[int, ...]:
    slots = []
    for number, argument in enumerate(function.arguments):
        if not isinstance(argument, Cell):
            slots.append(argument)
            continue
        name = f"the memory of argument {number + 1}"
        if world is None:
            region = host.memory.allocate(argument.size, name, argument.content)
        else:
            at = world.slots[number]
            region = host.memory.place(at, argument.size, name, argument.content)
        slots.append(region.address)
    return tuple(slots)


def _run_alone(host: Host, program: Program, task: Task) -> int:
    size = len(task.memory)
    region = host.memory.allocate(max(size, 1), "the input", task.memory)
    try:
        return host.run(program, budget=task.budget, arguments=(region.address, size))
    finally:
        host.memory.release(region)


class _Call:
    """Calls of one traced function."""

    def __init__(self, host: Host, traced: Traced, budget: int, world: World | None) -> None:
        self.host = host
        self.traced = traced
        self.budget = budget
        self.slots = _slots(host, traced.function, world)
        self.func_ip = FUNC_IP if world is None else world.function

    def run(self, add: partial[None]) -> int:
        """Run the programs around the function; returns what its caller gets."""
        host, programs = self.host, self.traced.programs
        contexts = {id(p): TracedCall(host.memory, self.slots, self.func_ip) for p in programs}

        def run(program: Program, when: str) -> int:
            value = host.run(program, contexts[id(program)], self.budget)
            add(program.name, when, value)
            return value

        try:
            # The last attached runs first, at entry and exit alike.
            for program in reversed(programs):
                if program.kind in _ENTRY:
                    run(program, "entry")
            value = 0
            for program in reversed(programs):
                if program.kind is ProgKind.FMOD_RET:
                    value = run(program, "fmod_ret")
                    if value:
                        # The function is not called; programs at exit see this value.
                        break
            if not value:
                value = self._function()
            for program in reversed(programs):
                if program.kind in _EXIT:
                    contexts[id(program)].returned(value)
                    run(program, "exit")
        finally:
            for context in contexts.values():
                context.release()
        return self.traced.function.result(value)

    def _function(self) -> int:
        function = self.traced.function
        if function.returns is not None:
            return function.returns
        return function_result(function.prototype, self.slots, self.host.memory)
