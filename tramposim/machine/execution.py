"""Running a calling loop: N calls in the guest, what they returned, what executed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tramposim.errors import GuestFault, InputError
from tramposim.machine.abi import STACK_POINTER, Snapshots, Violation, check_loop
from tramposim.machine.caller import COUNTER, CallingLoop
from tramposim.machine.machine import Machine
from tramposim.machine.pages import page_ranges
from tramposim.machine.trace import Trace
from tramposim.spec import Arch

__all__ = ["BUDGET_PER_CALL", "Execution", "run_calls"]

BUDGET_PER_CALL = 1_000_000
"""Most instructions of one call; the kernel's longest images need some thousands."""

RETURN_REGISTER = {Arch.X86_64: "rax", Arch.ARM64: "x0"}


@dataclass(frozen=True, slots=True)
class Execution:
    """What N calls did.

    `returns` are the 64-bit return registers, call by call; `instructions` counts executed
    instructions, calling loop included; `trace` is there if asked for; `snapshots` hold the
    registers at the loop's points and at every watched address.
    """

    returns: tuple[int, ...]
    instructions: int
    trace: Trace | None
    snapshots: Snapshots
    violations: tuple[Violation, ...]


def run_calls(
    machine: Machine,
    loop: CallingLoop,
    calls: int,
    *,
    trace: bool = True,
    watch: Iterable[int] = (),
    budget: int = BUDGET_PER_CALL,
    demand: bool = False,
) -> Execution:
    """Run the loop `calls` times, from the registers as they stand.

    `budget` is the most instructions of one call. With `demand` data where nothing is mapped
    appears, zeroed.

    Raises `GuestFault` if the guest goes astray or breaks the calling convention.
    """
    if calls < 1:
        raise InputError(f"{calls} calls: at least one is needed")
    engine = machine.engine
    engine.set_register(COUNTER[machine.arch], calls)
    engine.watch({loop.begin, loop.returned, *watch})
    stop = machine.run(loop.begin, loop.end, calls * budget, trace=trace, demand=demand)
    snapshots = Snapshots.of(engine.take_snapshots(), tuple(engine.register_ids))
    violations = check_loop(machine.arch, loop, snapshots)
    if violations:
        raise GuestFault(f"calling convention broken: {violations[0]}")
    returned = snapshots.values(snapshots.at(loop.returned), RETURN_REGISTER[machine.arch])
    recorded = _trace(machine, snapshots, loop) if trace else None
    return Execution(tuple(returned.tolist()), stop.executed, recorded, snapshots, violations)


def _trace(machine: Machine, snapshots: Snapshots, loop: CallingLoop) -> Trace:
    regions = machine.code_regions()
    pcs, accesses = machine.take_trace(regions)
    starts = snapshots.at(loop.begin)
    calls = np.append(starts[:, 0].astype(np.int64), np.int64(len(pcs)))
    return Trace(
        machine.arch,
        pcs,
        accesses,
        calls,
        regions,
        page_ranges(machine.addresses),
        int(snapshots.values(starts, STACK_POINTER[machine.arch])[0]),
    )
