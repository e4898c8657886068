"""Executing programs for what they compute: one call of a traced function, or one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tramposim.bpf.host import Host, TracedCall
from tramposim.bpf.interpreter import BUDGET
from tramposim.errors import InputError
from tramposim.spec import ProgKind, Program, Prototype

__all__ = ["MAX_CALLS", "ProgramRun", "RunResult", "run_programs"]

MAX_CALLS = 1_000_000
FUNC_IP = 0xFFFFFFFF81400000
"""Address that programs see as the traced function's."""

_ENTRY = (ProgKind.FENTRY, ProgKind.FENTRY_MULTI, ProgKind.FSESSION, ProgKind.FSESSION_MULTI)
_EXIT = (ProgKind.FEXIT, ProgKind.FEXIT_MULTI, ProgKind.FSESSION, ProgKind.FSESSION_MULTI)
_MODIFY = (ProgKind.FMOD_RET,)


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """One execution: when it ran (`entry`, `fmod_ret`, `exit` or `run`) and its r0."""

    name: str
    when: str
    value: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """The last call's executions in order, what programs printed, and all map contents.

    `maps` are (name, ((key, value), ...)) with elements that are not all zero.
    """

    runs: tuple[ProgramRun, ...]
    output: tuple[str, ...]
    maps: tuple[tuple[str, tuple[tuple[bytes, bytes], ...]], ...]


def run_programs(
    programs: Sequence[Program],
    prototype: Prototype,
    arguments: Sequence[int] = (),
    returns: int = 0,
    memory: bytes = b"",
    calls: int = 1,
    budget: int = BUDGET,
) -> RunResult:
    """Interpret programs `calls` times.

    Tracing programs run as attached to the function of `prototype`, called with `arguments`
    (default: 1, 2, ...) and returning `returns`: the last attached first, at entry and exit
    alike. Any other program gets `memory` in r1 and its length in r2. Raises `InputError` for
    arguments that do not fit, and what `interpret` raises.
    """
    if not 1 <= calls <= MAX_CALLS:
        raise InputError(f"{calls} calls; 1 to {MAX_CALLS:,} can be run")
    slots = list(arguments) or [index + 1 for index in range(prototype.slots)]
    if len(slots) != prototype.slots:
        raise InputError(
            f"{len(slots)} argument values for the {prototype.slots} slots of {prototype.name}"
        )
    host = Host()
    for program in programs:
        host.declare(program.maps)
    tracing = [p for p in programs if p.kind in (*_ENTRY, *_EXIT, *_MODIFY)]
    others = [p for p in programs if p not in tracing]
    runs: list[ProgramRun] = []
    for _ in range(calls):
        runs = [_run_alone(host, program, memory, budget) for program in others]
        if tracing:
            runs += _one_call(host, tracing, slots, returns, budget)
    maps = tuple(
        (name, tuple((key, value) for key, value in made.items() if any(value)))
        for name, made in host.maps.items()
    )
    return RunResult(tuple(runs), tuple(host.output), maps)


def _run_alone(host: Host, program: Program, memory: bytes, budget: int) -> ProgramRun:
    region = host.memory.allocate(max(len(memory), 1), "the input", memory)
    try:
        value = host.run(
            program, budget=budget, arguments=(region.address if memory else 0, len(memory))
        )
    finally:
        host.memory.release(region)
    return ProgramRun(program.name, "run", value)


def _one_call(
    host: Host, programs: Sequence[Program], slots: Sequence[int], returns: int, budget: int
) -> list[ProgramRun]:
    runs: list[ProgramRun] = []
    calls = {id(program): TracedCall(host.memory, slots, FUNC_IP) for program in programs}
    try:
        for program in reversed(programs):
            if program.kind in _ENTRY:
                value = host.run(program, calls[id(program)], budget)
                runs.append(ProgramRun(program.name, "entry", value))
        for program in reversed(programs):
            if program.kind in _MODIFY:
                value = host.run(program, calls[id(program)], budget)
                runs.append(ProgramRun(program.name, "fmod_ret", value))
                if value:
                    # The function itself is not called; programs at exit see this value.
                    returns = value
                    break
        for program in reversed(programs):
            if program.kind in _EXIT:
                call = calls[id(program)]
                call.returned(returns)
                runs.append(ProgramRun(program.name, "exit", host.run(program, call, budget)))
    finally:
        for call in calls.values():
            call.release()
    return runs
