"""Functions of the kernel around trampolines, called by themselves: ours or captured ones.

An operation is what one iteration of a loop calls, in balance: what enters also exits, what
inserts also deletes. The same operation runs on any linked runtime, over the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.errors import UnsupportedError
from tramposim.machine.addresses import PAGE, Area, address_map
from tramposim.machine.caller import CallingLoop, build_sequence, prepare_stack
from tramposim.machine.execution import Execution, run_calls
from tramposim.machine.kerneldata import (
    COUNTER_HZ,
    Cpu,
    add_program,
    add_trampoline_image,
    kernel_memory,
)
from tramposim.machine.machine import Machine
from tramposim.machine.maps import add_map
from tramposim.machine.memory import KernelMemory
from tramposim.machine.runtime import Region, Runtime
from tramposim.spec import Arch, Map, MapType

__all__ = [
    "OPERATIONS",
    "READ_TSC",
    "Operation",
    "boot_registers",
    "booted_memory",
    "fill_code",
    "place_data",
    "run_operation",
]

READ_TSC = "read_tsc"
"""The x86_64 kernel's function that reads the time stamp counter as a clock source."""

WARM_ITERATIONS = 4
BUDGET = 100_000
"""Most instructions of one iteration."""

_INTERRUPTS_ENABLED = 0x202
_INSTRUCTIONS_PER_SECOND = 2_000_000_000
_TRAP = {Arch.X86_64: b"\xcc", Arch.ARM64: bytes.fromhex("002020d4")}
"""What fills code pages where there is no function: int3, brk #0x100."""
_DISTANCE = 0x200000

Calls = list[tuple[str, tuple[int, ...]]]
"""Functions by name with their arguments."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A named sequence of calls of `functions`; `prepare` makes what they work on.

    `first` are calls that are made once before the loop; `map_type` is the type of the map
    that it works on.
    """

    name: str
    functions: tuple[str, ...]
    prepare: Callable[[KernelMemory], Calls]
    first: Callable[[Calls], Calls] = lambda calls: []
    map_type: MapType | None = None


def _pair(suffix: str) -> Operation:
    enter, leave = f"__bpf_prog_enter{suffix}", f"__bpf_prog_exit{suffix}"

    def prepare(memory: KernelMemory) -> Calls:
        prog = add_program(memory, 0x1000)
        context = memory.kmalloc(64, "run context")
        return [(enter, (prog, context)), (leave, (prog, 1, context))]

    return Operation(f"{enter}+exit", (enter, leave), prepare)


def _tramp(memory: KernelMemory) -> Calls:
    image = add_trampoline_image(memory, 0x2000, 64).im
    return [("__bpf_tramp_enter", (image,)), ("__bpf_tramp_exit", (image,))]


def _plain(*names: str) -> Operation:
    """Functions without arguments."""
    return Operation("+".join(names), names, lambda memory: [(name, ()) for name in names])


def _table(memory: KernelMemory) -> tuple[int, int]:
    table = add_map(memory, Map("h", MapType.HASH, 8, 8, 1024), seed=99).address
    key = memory.kmalloc(64, "key and value")
    memory.put(key, 7)
    return table, key


def _lookup(memory: KernelMemory) -> Calls:
    return [("__htab_map_lookup_elem", _table(memory))]


def _update(memory: KernelMemory) -> Calls:
    table, key = _table(memory)
    return [("htab_map_update_elem", (table, key, key + 8, 0))]


def _insert_and_delete(memory: KernelMemory) -> Calls:
    table, key = _table(memory)
    return [
        ("htab_map_update_elem", (table, key, key + 8, 0)),
        ("htab_map_delete_elem", (table, key)),
    ]


def _insert_first(calls: Calls) -> Calls:
    (_, (table, key)), *_ = calls
    return [("htab_map_update_elem", (table, key, key + 8, 0))]


def _array(memory: KernelMemory) -> Calls:
    array = add_map(memory, Map("a", MapType.ARRAY, 4, 8, 16)).address
    return [("array_map_lookup_elem", (array, memory.kmalloc(64, "index")))]


_LOOKUP, _UPDATE, _DELETE = (
    "__htab_map_lookup_elem",
    "htab_map_update_elem",
    "htab_map_delete_elem",
)

OPERATIONS = (
    *(_pair(suffix) for suffix in ("_recur", "", "_sleepable_recur", "_sleepable", "_lsm_cgroup")),
    Operation("__bpf_tramp_enter+exit", ("__bpf_tramp_enter", "__bpf_tramp_exit"), _tramp),
    _plain("migrate_disable", "migrate_enable"),
    Operation("hash.lookup.hit", (_LOOKUP, _UPDATE), _lookup, _insert_first, MapType.HASH),
    Operation("hash.lookup.miss", (_LOOKUP,), _lookup, map_type=MapType.HASH),
    Operation("hash.update", (_UPDATE,), _update, map_type=MapType.HASH),
    Operation("hash.insert+delete", (_UPDATE, _DELETE), _insert_and_delete, map_type=MapType.HASH),
    Operation("array.lookup", ("array_map_lookup_elem",), _array, map_type=MapType.ARRAY),
    _plain("bpf_ktime_get_ns"),
    _plain("bpf_get_current_pid_tgid"),
    _plain("bpf_get_smp_processor_id"),
    _plain("sched_clock"),
)
"""What is called around and by programs."""


def run_operation(runtime: Runtime, operation: Operation, iterations: int) -> Execution:
    """Iterate an operation on a CPU of its own, warm; traced.

    Raises `UnsupportedError` if the runtime lacks a function, `GuestFault` if it goes astray.
    """
    memory, (cpu, *_) = booted_memory(runtime)
    calls = operation.prepare(memory)
    for name, _ in calls:
        if name not in runtime.symbols:
            raise UnsupportedError(f"there is no {name} on {runtime.kernel.arch}")
    targets = [runtime.symbols[name] for name, _ in calls]
    area = Area("driver", (min(targets) - _DISTANCE) & -PAGE, PAGE, READ | EXECUTE, 64)
    machine = Machine(runtime.kernel, replace(address_map(runtime.kernel.arch), driver=area))
    fill_code(machine, runtime.regions)
    machine.add_symbols(runtime.symbols)
    first = _loop(machine, runtime, operation.first(calls))
    loop = _loop(machine, runtime, calls)
    assert loop is not None
    place_data(machine, memory)
    boot_registers(machine, cpu)
    for one, count in ((first, 1), (loop, WARM_ITERATIONS)):
        if one is not None:
            prepare_stack(machine, (), cpu.stack_top)
            run_calls(machine, one, count, trace=False, budget=BUDGET, demand=True)
    prepare_stack(machine, (), cpu.stack_top)
    return run_calls(machine, loop, iterations, budget=BUDGET, demand=True)


def _loop(machine: Machine, runtime: Runtime, calls: Calls) -> CallingLoop | None:
    if not calls:
        return None
    return build_sequence(
        machine, [(runtime.address(name), list(enumerate(values))) for name, values in calls]
    )


def booted_memory(runtime: Runtime) -> tuple[KernelMemory, tuple[Cpu, ...]]:
    """`kernel_memory`, with a clock source that is read by a call where kernels do that."""
    memory, cpus = kernel_memory(runtime)
    reader = runtime.symbols.get(READ_TSC)
    if runtime.kernel.arch is Arch.X86_64 and reader is not None:
        base = runtime.symbols["tk_fast_mono"] + runtime.structs.offset("tk_fast.base")
        clock = int.from_bytes(memory.read(base, 8), "little")
        memory.put_member(clock, "clocksource.read", reader)
    return memory, cpus


def boot_registers(machine: Machine, cpu: Cpu) -> None:
    """Clock rate and system registers of a CPU that runs a task, interrupts enabled."""
    engine = machine.engine
    engine.set_clock_rate(COUNTER_HZ[machine.arch], _INSTRUCTIONS_PER_SECOND)
    if machine.arch is Arch.X86_64:
        engine.set_register("gs_base", cpu.percpu_offset)
        engine.set_register("rflags", _INTERRUPTS_ENABLED)
    else:
        engine.set_register("tpidr_el1", cpu.percpu_offset)
        engine.set_register("sp_el0", cpu.task)


def fill_code(machine: Machine, regions: Iterable[Region]) -> None:
    """Place code; what its pages hold besides traps."""
    machine.place_pages(
        ((region.address, region.data, region.name) for region in regions),
        READ | EXECUTE,
        _TRAP[machine.arch],
    )


def place_data(machine: Machine, memory: KernelMemory) -> None:
    """Place all kernel data."""
    machine.place_pages(
        ((region.address, region.data, region.name) for region in memory.regions()),
        READ | WRITE,
        b"\0",
    )
