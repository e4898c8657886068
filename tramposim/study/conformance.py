"""Conformance test files (`.data`), run on any engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tramposim.bpf.conformance import ConformanceTest, parse_conformance
from tramposim.errors import InputError, TramposimError
from tramposim.machine.bare import compile_and_run, interpret_bare
from tramposim.spec import Arch, Kernel

__all__ = ["ConformanceResult", "read_conformance", "run_conformance"]

_MAX_TEXT = 16 << 20
_INTERPRETER = "interp"


@dataclass(frozen=True, slots=True)
class ConformanceResult:
    """What one engine made of a test: r0, or the error; whether that is what the test wants."""

    engine: str
    value: int | None
    error: str
    passed: bool


def read_conformance(path: Path) -> ConformanceTest:
    """Read a test file; raises `InputError` if it cannot be read or understood."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_TEXT + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", str(path)) from None
    if len(content) > _MAX_TEXT:
        raise InputError(f"more than {_MAX_TEXT >> 20} MiB", str(path))
    try:
        return parse_conformance(content.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", str(path)) from None


def run_conformance(
    test: ConformanceTest, engines: Sequence[str], budget: int, kernel: str
) -> tuple[ConformanceResult, ...]:
    """Run a test on `interp` or the JITs of architectures, in the kernel of that version.

    `budget` is instructions: of eBPF on the interpreter, of the machine elsewhere.
    """
    return tuple(_run(test, engine, budget, kernel) for engine in engines)


def _run(test: ConformanceTest, engine: str, budget: int, kernel: str) -> ConformanceResult:
    try:
        if engine == _INTERPRETER:
            value = interpret_bare(test.code, test.memory, budget).value
        else:
            target = Kernel(Arch(engine), kernel)
            value = compile_and_run(target, test.code, test.memory, budget).value
    except TramposimError as error:
        wanted = test.error is not None and test.error in str(error)
        return ConformanceResult(engine, None, str(error), wanted)
    return ConformanceResult(engine, value, "", value == test.result)
