"""Initial kernel data: tasks, stacks, per-CPU variables, clocks, and the objects of programs.

What a booted kernel has in memory when the first traced call happens: every CPU runs one
task in process context, preemptible, with nothing pending; clocks count from zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.errors import InputError
from tramposim.machine.addresses import AddressMap
from tramposim.machine.memory import KernelMemory
from tramposim.machine.runtime import NR_CPUS, Runtime
from tramposim.spec import Arch

__all__ = [
    "COMM",
    "COUNTER_HZ",
    "TRACE_RING_BYTES",
    "Cpu",
    "TrampolineImage",
    "add_ftrace_ops",
    "add_program",
    "add_trampoline_image",
    "kernel_memory",
]

COUNTER_HZ = {Arch.X86_64: 2_000_000_000, Arch.ARM64: 25_000_000}
"""Frequency of the counter that clocks read: the TSC, or the generic timer (25 MHz, as
server SoCs of the Neoverse N1 class have)."""

COMM = "tramposim"
"""Name of the tasks (task_struct.comm); they run as root."""

TRACE_RING_BYTES = 1 << 16
"""Bytes of a CPU's trace buffer (`bpf_trace_printk`); the oldest lines give way."""

_STACK_SIZE = 0x4000
_CANARY = 0x5AC0FFEE5AC0FF00
_NEED_RESCHED_CLEAR = {Arch.X86_64: 0x80000000, Arch.ARM64: 1 << 32}
_SHIFT = 24
_ATOMIC_BIAS = 1 << 63


@dataclass(frozen=True, slots=True)
class Cpu:
    """What a CPU's registers point to: `percpu_offset` is gs base or tpidr_el1, `task` is
    sp_el0 on arm64; the stack pointer starts at `stack_top` (16-byte aligned)."""

    number: int
    percpu_offset: int
    task: int
    stack_bottom: int
    stack_top: int


@dataclass(frozen=True, slots=True)
class TrampolineImage:
    """A struct bpf_tramp_image: its address and its per-CPU reference count's pointer."""

    im: int
    percpu_count: int
    data: int


def _mult(arch: Arch) -> int:
    return (1_000_000_000 << _SHIFT) // COUNTER_HZ[arch]


def _globals(memory: KernelMemory, runtime: Runtime) -> None:
    symbols, layout = runtime.symbols, runtime.structs
    possible = NR_CPUS[runtime.kernel.arch]
    offsets = memory.add(symbols["__per_cpu_offset"], 8 * possible, "__per_cpu_offset")
    memory.put_words(offsets, [memory.percpu_offset(cpu) for cpu in range(runtime.cpus)])
    memory.put(memory.add(symbols["nr_cpu_ids"], 4, "nr_cpu_ids"), runtime.cpus, 4)
    mask = memory.add(symbols["__cpu_possible_mask"], possible // 8, "__cpu_possible_mask")
    for cpu in range(0, runtime.cpus, 8):
        bits = min(8, runtime.cpus - cpu)
        memory.put(mask + cpu // 8, (1 << bits) - 1, 1)
    memory.add(symbols["timekeeping_suspended"], 4, "timekeeping_suspended")
    for clock in ("guest_boot_offset", "guest_tai_offset"):
        memory.add(symbols[clock], 8, clock)
    counters = memory.percpu(32, "srcu_ctr of rcu_tasks_trace", 16)
    srcu = memory.add(symbols["rcu_tasks_trace_srcu_struct"], 64, "rcu_tasks_trace_srcu_struct")
    memory.put(srcu + layout.offset("srcu_struct.srcu_ctrp"), counters)


def _monotonic_clock(memory: KernelMemory, runtime: Runtime, read: int) -> None:
    layout, arch = runtime.structs, runtime.kernel.arch
    clock = memory.kmalloc(layout.sizes["clocksource"], "clocksource")
    memory.put_member(clock, "clocksource.read", read)
    memory.put_member(clock, "clocksource.max_raw_delta", ((1 << 64) - 1) // _mult(arch))
    size = layout.sizes["tk_read_base"]
    start = layout.offset("tk_fast.base")
    fast = memory.add(runtime.symbols["tk_fast_mono"], start + 2 * size, "tk_fast_mono")
    for copy in range(2):
        base = fast + start + copy * size
        memory.put_member(base, "tk_read_base.clock", clock)
        memory.put_member(base, "tk_read_base.mask", (1 << 64) - 1)
        memory.put_member(base, "tk_read_base.mult", _mult(arch), 4)
        memory.put_member(base, "tk_read_base.shift", _SHIFT, 4)


def _arm64_clocks(memory: KernelMemory, runtime: Runtime) -> None:
    layout, symbols = runtime.structs, runtime.symbols
    counter = symbols["arch_counter_get_cntvct"]
    memory.put(
        memory.add(symbols["arch_timer_read_counter"], 8, "arch_timer_read_counter"), counter
    )
    _monotonic_clock(memory, runtime, symbols["guest_arch_counter_read"])
    size = layout.sizes["clock_read_data"]
    start = layout.offset("clock_data.read_data")
    cd = memory.add(symbols["cd"], start + 2 * size, "cd")
    for copy in range(2):
        data = cd + start + copy * size
        memory.put_member(data, "clock_read_data.sched_clock_mask", (1 << 56) - 1)
        memory.put_member(data, "clock_read_data.read_sched_clock", counter)
        memory.put_member(data, "clock_read_data.mult", _mult(Arch.ARM64), 4)
        memory.put_member(data, "clock_read_data.shift", _SHIFT, 4)


def _task(memory: KernelMemory, runtime: Runtime, cpu: int) -> Cpu:
    layout, arch = runtime.structs, runtime.kernel.arch
    task = memory.kmalloc(layout.sizes["task_struct"], f"task of CPU {cpu}", 64)
    stack = memory.vmalloc(_STACK_SIZE, f"stack of CPU {cpu}")
    memory.put_member(task, "task_struct.stack", stack)
    memory.put_member(task, "task_struct.pid", 1000 + cpu, 4)
    memory.put_member(task, "task_struct.tgid", 1000 + cpu, 4)
    credentials = memory.kmalloc(layout.sizes["cred"], f"credentials of CPU {cpu}'s task", 64)
    memory.put_member(task, "task_struct.cred", credentials)
    memory.write(task + layout.offset("task_struct.comm"), COMM.encode())
    memory.put_member(task, "task_struct.cpus_ptr", task + layout.offset("task_struct.cpus_mask"))
    if arch is Arch.ARM64:
        memory.put_member(task, "thread_info.preempt_count", _NEED_RESCHED_CLEAR[arch])
        memory.put_member(task, "thread_info.cpu", cpu, 4)
        memory.put_member(task, "task_struct.stack_canary", _CANARY)
    # The top of a kernel stack holds the registers that entry from user space saved.
    return Cpu(cpu, memory.percpu_offset(cpu), task, stack, stack + _STACK_SIZE - 0x150)


def _x86_64_variables(memory: KernelMemory, runtime: Runtime, cpu: Cpu) -> None:
    symbols, layout = runtime.symbols, runtime.structs

    def put(name: str, value: int, size: int, offset: int = 0) -> None:
        address = memory.percpu_address(symbols[name] + offset, cpu.number)
        memory.put(address, value, size)

    put("__stack_chk_guard", _CANARY, 8)
    put("current_task", cpu.task, 8)
    put("this_cpu_off", cpu.percpu_offset, 8)
    put("__preempt_count", _NEED_RESCHED_CLEAR[Arch.X86_64], 4)
    put("cpu_number", cpu.number, 4)
    # A call depth that never runs out is what a CPU has that has just been stuffed.
    put("__x86_call_depth", -1, 8)
    for copy in range(2):
        data = layout.offset("cyc2ns.data") + 16 * copy
        put("cyc2ns", _mult(Arch.X86_64), 4, data + layout.offset("cyc2ns_data.mul"))
        put("cyc2ns", _SHIFT, 4, data + layout.offset("cyc2ns_data.shift"))


def _random_state(memory: KernelMemory, runtime: Runtime, cpu: Cpu) -> None:
    """Seeds of the programs' random numbers: any, but each component needs high bits set."""
    state = memory.percpu_address(runtime.symbols["bpf_user_rnd_state"], cpu.number)
    for component in range(4):
        seed = 0x9E3779B9 * (4 * cpu.number + component + 1) & 0xFFFFFFFF
        memory.put(state + 4 * component, seed | 1 << 16, 4)


def _trace_ring(memory: KernelMemory, runtime: Runtime, cpu: Cpu) -> None:
    data = runtime.structs.offset("trace_ring.data")
    ring = memory.vmalloc(data + TRACE_RING_BYTES, f"trace buffer of CPU {cpu.number}")
    memory.put_member(ring, "trace_ring.size", TRACE_RING_BYTES)
    memory.put(memory.percpu_address(runtime.symbols["guest_trace_ring"], cpu.number), ring)


def kernel_memory(
    runtime: Runtime, addresses: AddressMap | None = None
) -> tuple[KernelMemory, tuple[Cpu, ...]]:
    """Memory with the initial data of all of the runtime's CPUs, and what each CPU runs.

    Programs, images and maps are added to it before its `regions` are mapped.
    """
    memory = KernelMemory(runtime, addresses)
    _globals(memory, runtime)
    if runtime.kernel.arch is Arch.ARM64:
        _arm64_clocks(memory, runtime)
    else:
        memory.add(runtime.symbols["jiffies_64"], 8, "jiffies_64")
        _monotonic_clock(memory, runtime, runtime.symbols.get("guest_read_tsc", 0))
    cpus = tuple(_task(memory, runtime, cpu) for cpu in range(runtime.cpus))
    for cpu in cpus:
        _random_state(memory, runtime, cpu)
        _trace_ring(memory, runtime, cpu)
        if runtime.kernel.arch is Arch.X86_64:
            _x86_64_variables(memory, runtime, cpu)
    return memory, cpus


def add_program(
    memory: KernelMemory, bpf_func: int, address: int | None = None, name: str = "program"
) -> int:
    """A struct bpf_prog for compiled code at `bpf_func`; returns its address `p`.

    With `address` it lies there. Its recursion word and statistics are per-CPU memory.
    """
    sizes = memory.structs.sizes
    if address is None:
        prog = memory.vmalloc(sizes["bpf_prog"], f"struct bpf_prog of {name}")
    else:
        prog = memory.add(address, sizes["bpf_prog"], f"struct bpf_prog of {name}")
    aux = memory.kmalloc(sizes["bpf_prog_aux"], f"struct bpf_prog_aux of {name}")
    # 64-bit counters behind a recursion word each: as the kernel's allocator places them.
    stats = memory.percpu(sizes["bpf_prog_stats"], f"statistics of {name}", 16)
    active = memory.percpu(4, f"recursion word of {name}", 4)
    memory.put_member(prog, "bpf_prog.stats", stats)
    memory.put_member(prog, "bpf_prog.active", active)
    memory.put_member(prog, "bpf_prog.bpf_func", bpf_func)
    memory.put_member(prog, "bpf_prog.aux", aux)
    return prog


def add_trampoline_image(
    memory: KernelMemory, image: int, size: int, address: int | None = None, atomic: bool = False
) -> TrampolineImage:
    """A struct bpf_tramp_image for an image of `size` bytes at `image`.

    `atomic` puts its reference into atomic mode, as killing a percpu_ref does.
    """
    total = memory.structs.sizes["bpf_tramp_image"]
    if address is None:
        im = memory.kmalloc(total, "struct bpf_tramp_image", 256)
    else:
        im = memory.add(address, total, "struct bpf_tramp_image")
    count = memory.percpu(8, "percpu_ref of an image", 8)
    data = memory.kmalloc(memory.structs.sizes["percpu_ref_data"], "percpu_ref_data")
    ref = im + memory.structs.offset("bpf_tramp_image.pcref")
    memory.put_member(im, "bpf_tramp_image.image", image)
    memory.put_member(im, "bpf_tramp_image.size", size, 4)
    memory.put_member(ref, "percpu_ref.percpu_count_ptr", count | (3 if atomic else 0))
    memory.put_member(ref, "percpu_ref.data", data)
    memory.put_member(data, "percpu_ref_data.count", 1 if atomic else _ATOMIC_BIAS + 1)
    return TrampolineImage(im, count, data)


def add_ftrace_ops(memory: KernelMemory, direct_call: int, address: int | None = None) -> int:
    """A struct ftrace_ops whose direct_call is a trampoline (arm64's ftrace_caller)."""
    if memory.arch is not Arch.ARM64:
        raise InputError("x86_64 patches calls of trampolines directly; there is no ftrace_ops")
    size = memory.structs.offset("ftrace_ops.direct_call") + 8
    if address is None:
        ops = memory.kmalloc(size, "struct ftrace_ops")
    else:
        ops = memory.add(address, size, "struct ftrace_ops")
    memory.put_member(ops, "ftrace_ops.direct_call", direct_call)
    return ops
