"""What engines are given to run and what they give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tramposim.spec import Map, Program
from tramposim.study.call import FunctionCall

__all__ = [
    "EngineRun",
    "MapContents",
    "ProgramRun",
    "Returned",
    "Task",
    "Traced",
    "World",
    "Worlds",
]


@dataclass(frozen=True, slots=True)
class Traced:
    """A function, how it is called, and the programs that trace it in attach order."""

    function: FunctionCall
    programs: tuple[Program, ...]

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.function.prototype.name


@dataclass(frozen=True, slots=True)
class Task:
    """What runs in each of `calls` rounds: first the programs that trace nothing, each on
    `memory`, then every traced function is called once.

    `budget` is what one execution may take: instructions of eBPF on the interpreter, of the
    machine on a machine.
    """

    traced: tuple[Traced, ...]
    alone: tuple[Program, ...]
    memory: bytes
    calls: int
    budget: int

    @property
    def programs(self) -> tuple[Program, ...]:
        """All programs; they share their maps."""
        return (*self.alone, *(program for traced in self.traced for program in traced.programs))


@dataclass(frozen=True, slots=True)
class World:
    """Where a traced function lies, and the values of its argument slots."""

    function: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Worlds:
    """What programs can see of a machine: its functions by name, and the struct task_struct
    that they run in."""

    functions: Mapping[str, World]
    task: int
    task_content: bytes


@dataclass(frozen=True, slots=True)
class Returned:
    """One call of a traced function (from 1): its slots' values, and what its caller got, cut
    to the size of the function's result."""

    call: int
    traced: Traced
    slots: tuple[int, ...]
    value: int


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

    Records of buffers and values of queues have the numbers from 0 as keys, the oldest first.
    """

    map: Map
    elements: Mapping[bytes, bytes]

    @property
    def name(self) -> str:
        """Name of the map."""
        return self.map.name


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What one engine did: calls of functions and executions of programs, each in order, the
    lines that programs printed, the maps at the end, and what is easily overlooked."""

    engine: str
    returned: tuple[Returned, ...]
    runs: tuple[ProgramRun, ...]
    output: tuple[str, ...]
    maps: tuple[MapContents, ...]
    notes: tuple[str, ...] = ()
