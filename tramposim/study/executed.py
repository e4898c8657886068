"""Programs on an emulated kernel: through the JIT and the trampoline image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from tramposim.bpf.host import Host
from tramposim.machine.bare import BareProgram
from tramposim.machine.execution import RETURN_REGISTER, Execution
from tramposim.machine.guestkernel import GuestKernel
from tramposim.machine.hypercall import HostFunction, MachineMemory
from tramposim.machine.maps import ring_records
from tramposim.machine.traced import TracedFunction
from tramposim.spec import TRACING_KINDS, Kernel, MapType
from tramposim.study.engines import EngineRun, MapContents, ProgramRun, Task, World

__all__ = ["execute", "map_contents"]

OF_THE_WORLD = frozenset(
    {
        "bpf_ktime_get_ns",
        "bpf_ktime_get_boot_ns",
        "bpf_ktime_get_coarse_ns",
        "bpf_ktime_get_tai_ns",
        "bpf_get_prandom_u32",
        "bpf_trace_printk",
        "bpf_trace_vprintk",
    }
)
"""Helpers whose results or effects lie outside of the programs: the host executes them, so
that every engine has the same world."""

_BATCH = 1024
"""Calls that run at once: their register snapshots are kept."""

_WHEN = {"fentry": "entry", "fmod_ret": "fmod_ret", "fexit": "exit"}
_ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)
_HASHES = (MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH)


def execute(kernel: Kernel, task: Task) -> tuple[EngineRun, World]:
    """Run a task on `kernel`, and the world that the programs saw.

    Raises `AttachError` where the kernel would refuse, `UnsupportedError` for what cannot be
    built, `GuestFault` if the code goes astray.
    """
    guest = GuestKernel(kernel)
    host = Host(memory=MachineMemory(guest.machine))
    guest.add_hypercalls(_hypercalls(guest, host))
    runs: list[ProgramRun] = []
    returned: list[int] = []
    function = task.function
    loaded = {
        number: guest.load(program)
        for number, program in enumerate(task.programs)
        if program.kind in TRACING_KINDS
    }
    traced = TracedFunction(
        guest,
        function.prototype,
        [(program, 0) for program in loaded.values()],
        arguments=function.arguments,
        returns=function.returns,
    )
    alone = [
        (program.name, BareProgram(guest, program, len(task.memory)))
        for number, program in enumerate(task.programs)
        if number not in loaded
    ]
    batch = 1 if alone else _BATCH
    for start in range(0, task.calls, batch):
        for name, program in alone:
            value = program.run(task.memory, task.budget)
            runs.append(ProgramRun(start + 1, name, "run", value))
        if loaded:
            calls = min(batch, task.calls - start)
            ends = traced.program_ends
            begins = {program.address for program in loaded.values()}
            execution = traced.run(calls, trace=False, watch=(*ends, *begins), budget=task.budget)
            returned += (function.result(value) for value in execution.returns)
            runs += _program_runs(kernel, execution, begins, ends, traced.prepare().begin, start)
    maps = tuple(_contents(guest))
    run = EngineRun(
        kernel.arch.value, tuple(returned), tuple(runs), tuple(host.output), maps, traced.arguments
    )
    return run, World(traced.target.address, traced.arguments)


def _hypercalls(guest: GuestKernel, host: Host) -> Mapping[str, HostFunction]:
    """The helpers that the host executes: those of the world, and those without guest code."""
    return {
        name: function
        for name, function in host.helpers().items()
        if name in OF_THE_WORLD or name not in guest.runtime.symbols
    }


def _program_runs(
    kernel: Kernel,
    execution: Execution,
    begins: Set[int],
    ends: Mapping[int, tuple[str, str]],
    begin: int,
    calls_before: int,
) -> Iterator[ProgramRun]:
    """Executions of programs in order, from the register snapshots at their begins and ends."""
    column = execution.snapshots.columns[RETURN_REGISTER[kernel.arch]]
    call, running = calls_before, False
    for row in execution.snapshots.rows:
        address = int(row[1])
        if address == begin:
            call += 1
        elif address in begins:
            running = True
        elif address in ends and running:
            # Where the image comes to after a program it also comes when it skips the program.
            where, name = ends[address]
            yield ProgramRun(call, name, _WHEN[where], int(row[column]))
            running = False


def _contents(guest: GuestKernel) -> Iterator[MapContents]:
    for placed in guest.maps.values():
        contents = map_contents(guest, placed.map.name)
        if contents is not None:
            yield contents


def map_contents(guest: GuestKernel, name: str) -> MapContents | None:
    """A map as it is now; None for a type that has no elements to read."""
    placed = guest.maps[name]
    kind = placed.map.type
    if kind in _ARRAYS:
        elements = {i.to_bytes(4, "little"): v for i, v in enumerate(guest.array(name))}
    elif kind in _HASHES:
        elements = guest.hash(name)
    elif kind is MapType.RINGBUF:
        guest.commit()
        records = ring_records(placed, guest.memory, guest.machine.read)
        elements = {number.to_bytes(4, "little"): r for number, r in enumerate(records)}
    else:
        return None
    return MapContents(placed.map, elements)
