"""Programs on an emulated kernel: through the JIT and the trampoline image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tramposim.bpf.host import Host
from tramposim.machine.bare import BareProgram
from tramposim.machine.execution import RETURN_REGISTER, Execution
from tramposim.machine.guestkernel import GuestKernel
from tramposim.machine.hypercall import HostFunction, MachineMemory
from tramposim.machine.maps import PlacedMap, perf_records, queue_values, ring_records
from tramposim.machine.memory import KernelMemory
from tramposim.machine.placedmap import Read
from tramposim.machine.traced import TracedFunction
from tramposim.spec import Kernel, MapType
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
_HASHES = (MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
_RECORDS: Mapping[MapType, Callable[[PlacedMap, KernelMemory, Read], Iterator[bytes]]] = {
    MapType.RINGBUF: ring_records,
    MapType.PERF_EVENT_ARRAY: perf_records,
    MapType.QUEUE: queue_values,
    MapType.STACK: queue_values,
}


def execute(kernel: Kernel, task: Task) -> tuple[EngineRun, Worlds]:
    """Run a task on `kernel`, and the worlds that the programs saw.

    Raises `AttachError` where the kernel would refuse, `UnsupportedError` for what cannot be
    built, `GuestFault` if the code goes astray.
    """
    guest = GuestKernel(kernel)
    host = Host(memory=MachineMemory(guest.machine))
    guest.add_hypercalls(_hypercalls(guest, host))
    alone = [
        (program.name, BareProgram(guest, program, len(task.memory))) for program in task.alone
    ]
    functions = [_Function(guest, traced) for traced in task.traced]
    size = guest.runtime.structs.sizes["task_struct"]
    current = guest.cpu.task, guest.memory.read(guest.cpu.task, size)
    runs: list[ProgramRun] = []
    returned: list[Returned] = []
    # Rounds of more than one thing are run one by one, in their order.
    batch = _BATCH if not alone and len(functions) == 1 else 1
    for start in range(0, task.calls, batch):
        for name, program in alone:
            value = program.run(task.memory, task.budget)
            runs.append(ProgramRun(start + 1, name, "run", value))
        for function in functions:
            calls = min(batch, task.calls - start)
            execution = function.run(calls, task.budget)
            returned += function.returned(execution, start)
            runs += function.program_runs(execution, start)
    maps = tuple(_contents(guest))
    output, notes = tuple(host.output), tuple(host.notes)
    run = EngineRun(kernel.arch.value, tuple(returned), tuple(runs), output, maps, notes)
    return run, Worlds({function.traced.name: function.world for function in functions}, *current)


class _Function:
    """A traced function in the guest, with its programs attached."""

    def __init__(self, guest: GuestKernel, traced: Traced) -> None:
        self.traced = traced
        self._register = RETURN_REGISTER[guest.kernel.arch]
        programs = [guest.load(program) for program in traced.programs]
        call = traced.function
        self._world = TracedFunction(
            guest,
            call.prototype,
            [(program, 0) for program in programs],
            arguments=call.arguments,
            returns=call.returns,
        )
        self._begins = {program.address for program in programs}
        self._ends = self._world.program_ends

    @property
    def world(self) -> World:
        """What programs can see of it."""
        return World(self._world.target.address, self._world.arguments)

    def run(self, calls: int, budget: int) -> Execution:
        """Call it, with register snapshots where programs begin and end."""
        watch = (*self._ends, *self._begins)
        return self._world.run(calls, trace=False, watch=watch, budget=budget)

    def returned(self, execution: Execution, calls_before: int) -> Iterator[Returned]:
        """What its callers got."""
        for number, value in enumerate(execution.returns, calls_before + 1):
            result = self.traced.function.result(value)
            yield Returned(number, self.traced, self._world.arguments, result)

    def program_runs(self, execution: Execution, calls_before: int) -> Iterator[ProgramRun]:
        """Executions of its programs, from the snapshots."""
        column = execution.snapshots.columns[self._register]
        begin = self._world.prepare().begin
        call, running = calls_before, False
        for row in execution.snapshots.rows:
            address = int(row[1])
            if address == begin:
                call += 1
            elif address in self._begins:
                running = True
            elif address in self._ends and running:
                # Where the image comes to after a program it also comes when it skips it.
                where, name = self._ends[address]
                yield ProgramRun(call, name, _WHEN[where], int(row[column]))
                running = False


def _hypercalls(guest: GuestKernel, host: Host) -> Mapping[str, HostFunction]:
    """The helpers that the host executes: those of the world, and those without guest code."""
    return {
        name: function
        for name, function in host.helpers().items()
        if name in OF_THE_WORLD or name not in guest.runtime.symbols
    }


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
    elif kind in _RECORDS:
        guest.commit()
        records = _RECORDS[kind](placed, guest.memory, guest.machine.read)
        elements = {number.to_bytes(4, "little"): r for number, r in enumerate(records)}
    else:
        return None
    return MapContents(placed.map, elements)
