"""A captured kernel's functions around trampolines beside the guest runtime's, timed alike."""

from __future__ import annotations

from collections.abc import Iterator

from tramposim.errors import TramposimError, UnsupportedError
from tramposim.machine.operations import OPERATIONS, Operation, run_operation
from tramposim.machine.replay import ReplayKernel
from tramposim.machine.runtime import load_runtime
from tramposim.study.records import Value
from tramposim.timing import Core, time_trace

__all__ = ["compare_functions"]

ITERATIONS = 16
"""Iterations in a trace; the core model repeats them until its state repeats."""


def compare_functions(kernel: ReplayKernel, core: Core) -> Iterator[tuple[dict[str, Value], int]]:
    """A row per operation whose functions are captured, and the exit code of its error.

    `cycles_per_call` and `instructions_per_call` are those of one iteration with the captured
    functions, `guest_…` with the guest runtime's; `difference_percent` is how far the guest's
    cycles are from the captured ones.
    """
    guest = load_runtime(kernel.kernel)
    captured = {f.name for f in kernel.captured.functions}
    captured |= {alias for f in kernel.captured.functions for alias in f.aliases}
    for operation in OPERATIONS:
        if not captured.issuperset(operation.functions):
            continue
        row: dict[str, Value] = {"id": operation.name}
        try:
            _check_layout(kernel, operation)
            execution = run_operation(kernel.runtime, operation, ITERATIONS)
            ours = run_operation(guest, operation, ITERATIONS)
            assert execution.trace is not None
            assert ours.trace is not None
            timing, guest_timing = time_trace(execution.trace, core), time_trace(ours.trace, core)
        except TramposimError as error:
            row["error"] = str(error)
            yield row, error.exit_code
            continue
        cycles, guest_cycles = timing.cycles_per_call, guest_timing.cycles_per_call
        row |= {
            "cycles_per_call": round(cycles, 2),
            "instructions_per_call": round(timing.instructions_per_call, 2),
            "uops_per_call": round(timing.uops_per_call, 2),
            "guest_cycles_per_call": round(guest_cycles, 2),
            "guest_instructions_per_call": round(guest_timing.instructions_per_call, 2),
            "difference_percent": round(100 * (guest_cycles / cycles - 1), 2),
            "not_captured": " ".join(kernel.not_captured(execution)),
        }
        yield row, 0


def _check_layout(kernel: ReplayKernel, operation: Operation) -> None:
    if operation.map_type is not None and not kernel.captured.lays_out(operation.map_type):
        raise UnsupportedError(
            f"how kernel {kernel.kernel.version} lays out maps of type {operation.map_type} "
            "is not recorded"
        )
