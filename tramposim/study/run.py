"""Executing programs for what they compute, on the interpreter and on emulated kernels.

Programs that trace a function are attached to it from left to right, so that the last one
runs first, at entry and at exit. Any other program runs by itself on a block of memory. The
engines are the reference interpreter, and the kernel of an architecture in the emulated
machine: the JIT's code, called by the trampoline image. Where a result depends on the world
around the programs (time, random numbers, addresses of arguments) all engines get the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tramposim.bpf.interpreter import BUDGET
from tramposim.errors import AttachError, InputError
from tramposim.kernel.load import check_return_value
from tramposim.spec import Arch, Program
from tramposim.study.engines import EngineRun, Task, Traced
from tramposim.study.executed import execute
from tramposim.study.interpreted import interpret
from tramposim.study.kernels import kernel_of
from tramposim.study.precheck import check_alone, check_programs

__all__ = ["ENGINES", "INTERPRETER", "MAX_CALLS", "RunResult", "run_programs"]

INTERPRETER = "interp"
ENGINES = (INTERPRETER, *(arch.value for arch in Arch))
"""What programs can run on."""

MAX_CALLS = 1_000_000


@dataclass(frozen=True, slots=True)
class RunResult:
    """What each engine did, and how machines differ from the interpreter in their world."""

    engines: tuple[EngineRun, ...]
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def run_programs(
    traced: Sequence[Traced],
    alone: Sequence[Program] = (),
    engines: Sequence[str] = (INTERPRETER,),
    *,
    memory: bytes = b"",
    calls: int = 1,
    budget: int = BUDGET,
    kernel: str = "7.2",
) -> RunResult:
    """Run programs `calls` times on each of `engines`; they share their maps.

    In each round the programs of `alone` run, with the address of `memory` in r1 and its
    length in r2, then every function of `traced` is called once. With the interpreter and a
    machine among the engines their results are compared. Raises `AttachError` where the
    kernel version refuses a program, `InputError` for what cannot be run, and what the
    engines raise.
    """
    if not 1 <= calls <= MAX_CALLS:
        raise InputError(f"{calls} calls; 1 to {MAX_CALLS:,} can be run")
    archs = [Arch(engine) for engine in engines if engine != INTERPRETER]
    kernels = {arch: kernel_of(arch, kernel) for arch in archs}
    for checked in kernels.values() or (kernel_of(Arch.X86_64, kernel),):
        for one in traced:
            check_programs(checked, one.programs, one.function.prototype)
        check_alone(alone)
    task = Task(tuple(traced), tuple(alone), memory, calls, budget)
    interpreted = INTERPRETER in engines
    runs: dict[str, EngineRun] = {}
    differences: list[str] = []
    if interpreted and archs:
        # If a program is at fault, the interpreter knows its instruction and line.
        interpret(replace(task, calls=1))
    for arch in archs:
        runs[arch], worlds = execute(kernels[arch], task)
        if interpreted:
            reference = interpret(task, worlds)
            differences += _differences(reference, runs[arch])
            runs.setdefault(INTERPRETER, reference)
    if interpreted and INTERPRETER not in runs:
        runs[INTERPRETER] = interpret(task)
    shown = tuple(runs[engine] for engine in ENGINES if engine in runs)
    notes = (*shown[0].notes, *_refused_results(task, shown[0]))
    return RunResult(shown, tuple(differences), notes)


def _refused_results(task: Task, run: EngineRun) -> Iterator[str]:
    """Programs that left a result which no verifier lets through, each once."""
    kinds = {program.name: program.kind for program in task.programs}
    seen = {(one.name, one.value & 0xFFFFFFFF) for one in run.runs if one.when != "run"}
    for name in dict.fromkeys(name for name, _ in sorted(seen)):
        for value in sorted(value for other, value in seen if other == name):
            try:
                check_return_value(kinds[name], value - (value >> 31 << 32))
            except AttachError as refusal:
                yield f"{name}: a kernel refuses to load it: {refusal}"
                break


def _differences(reference: EngineRun, run: EngineRun) -> Iterator[str]:
    """How a machine's run differs from the interpreter's, a text each, the first ones first."""
    engine = run.engine
    for wanted, got in zip(reference.returned, run.returned, strict=True):
        if wanted.value != got.value:
            yield (
                f"{engine}: call {got.call} of {got.traced.name} returned {got.value:#x}, "
                f"the interpreter's {wanted.value:#x}"
            )
            break
    if len(reference.runs) != len(run.runs):
        yield (
            f"{engine}: programs ran {len(run.runs)} times, the interpreter's {len(reference.runs)}"
        )
    for wanted_run, got_run in zip(reference.runs, run.runs, strict=False):
        if wanted_run != got_run:
            yield f"{engine}: {got_run.text}; the interpreter: {wanted_run.text}"
            break
    yield from _output_differences(engine, reference.output, run.output)
    theirs = {contents.name: contents.elements for contents in run.maps}
    for contents in reference.maps:
        if contents.name not in theirs:
            continue
        yield from _map_differences(engine, contents.name, contents.elements, theirs[contents.name])


def _output_differences(engine: str, wanted: Sequence[str], got: Sequence[str]) -> Iterator[str]:
    for number, (left, right) in enumerate(zip(wanted, got, strict=False), 1):
        if left != right:
            yield f"{engine}: line {number} printed is {right!r}, the interpreter's {left!r}"
            return
    if len(wanted) != len(got):
        yield f"{engine}: {len(got)} lines printed, the interpreter's {len(wanted)}"


def _map_differences(
    engine: str, name: str, wanted: Mapping[bytes, bytes], got: Mapping[bytes, bytes]
) -> Iterator[str]:
    for key in sorted({*wanted, *got}):
        if wanted.get(key) != got.get(key):
            left, right = (
                found[key].hex() if key in found else "not there" for found in (wanted, got)
            )
            yield f"{engine}: map {name}, key {key.hex()}: {right}; the interpreter: {left}"
            return
