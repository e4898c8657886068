"""What engines are given to run and what they give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tramposim.spec import Map, Program
from tramposim.study.call import FunctionCall

__all__ = ["EngineRun", "MapContents", "ProgramRun", "Task", "World"]


@dataclass(frozen=True, slots=True)
class Task:
    """Programs in attach order, the function that tracing ones trace, the input of others.

    `calls` is how often everything runs; `budget` what one execution may take: instructions
    of eBPF on the interpreter, of the machine on a machine.
    """

    programs: tuple[Program, ...]
    function: FunctionCall
    memory: bytes
    calls: int
    budget: int


@dataclass(frozen=True, slots=True)
class World:
    """Where things lie that programs can see: the traced function, and its slots' values."""

    function: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """One execution of a program: in which call (from 1), when (`entry`, `fmod_ret`, `exit`,
    or `run` for a program that traces nothing), and r0 as 64 bits."""

    call: int
    name: str
    when: str
    value: int

    @property
    def text(self) -> str:
        """In words."""
        return f"call {self.call}: {self.name} at {self.when} left r0 = {self.value:#x}"


@dataclass(frozen=True, slots=True)
class MapContents:
    """A map after the last call: value by key, of per-CPU maps this CPU's.

    A ring buffer's records have the numbers from 0 as keys, in the order of their commit.
    """

    map: Map
    elements: Mapping[bytes, bytes]

    @property
    def name(self) -> str:
        """Name of the map."""
        return self.map.name


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What one engine did.

    `returned` is what the traced function's caller got, call by call (nothing without tracing
    programs), cut to the size of the function's result; `runs` are the executions in order;
    `output` the lines that programs printed; `slots` the values of the function's arguments.
    """

    engine: str
    returned: tuple[int, ...]
    runs: tuple[ProgramRun, ...]
    output: tuple[str, ...]
    maps: tuple[MapContents, ...]
    slots: tuple[int, ...]
