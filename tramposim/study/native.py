"""The same scenarios, micro-kernels and blocks on this machine's CPU, beside the core model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tramposim import __version__
from tramposim.errors import HostBusy, InputError, TramposimError, UnsupportedError
from tramposim.machine.addresses import PAGE, user_map
from tramposim.machine.hostexport import host_image
from tramposim.machine.native import Cycles, HostCode, host_arch, run_on_host
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Attachment, Kernel, Prototype
from tramposim.study.bodies import programs_of
from tramposim.study.micro import MicroKernel, host_kernel, time_kernel
from tramposim.study.records import Records, Value
from tramposim.study.scenario import parse_scenario
from tramposim.timing import Core, core_names, load_core, time_trace
from tramposim.timing.throughput import Mode, throughput

__all__ = [
    "core_of_host",
    "cpu_name",
    "host_core",
    "native_blocks",
    "native_kernels",
    "native_scenarios",
]

WARM_CALLS, TRACED_CALLS = 4, 16
_CALLS = 2000
_LOOPS = 2000
_FILL = 0x12345600
"""What every register and every word of memory holds when a block begins (BHive's method)."""

_BLOCK_BYTES = 2048
"""Bytes of the fewer copies; twice as many fit every uop cache."""

BLOCK_MODE: Mode = "cached"
"""How the model delivers what is measured so."""

_BLOCK_PAGES = 64
_BLOCK_ROUNDS = 32
"""How often a sample goes through the copies: one pass can be as short as the resolution of a
time stamp counter."""

_CPUINFO = Path("/proc/cpuinfo")

Progress = Callable[[str], None]


def core_of_host(cpuinfo: str) -> str | None:
    """Which core a machine has, from the text of its /proc/cpuinfo, as core files name it."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    names: tuple[str, ...] = ("CPU implementer", "CPU part")
    if "vendor_id" in fields:
        names = ("vendor_id", "cpu family", "model")
    identity = " ".join(fields.get(name, "?") for name in names)
    return next((name for name in core_names() if identity in load_core(name).hosts), None)


def cpu_name(cpuinfo: str) -> str:
    """What a machine's /proc/cpuinfo calls its CPU."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "CPU part"):
            return value.strip()
    return "unknown CPU"


def host_core(name: str | None) -> Core | None:
    """The core model to print beside this machine: the named one, else the host's own if known.

    Raises `InputError` for a core of the other architecture.
    """
    arch = host_arch()
    found = name or core_of_host(_CPUINFO.read_text())
    if found is None:
        return None
    core = load_core(found)
    if core.arch is not arch:
        raise InputError(f"{found} is an {core.arch} core, this machine is {arch}", "--core")
    return core


def native_scenarios(
    kernels: Sequence[Kernel],
    core: Core | None,
    prototype: Prototype,
    grid: Iterable[tuple[str, str]],
    samples: int,
    progress: Progress = lambda text: None,
    runs: int = 1,
) -> Records:
    """Execute each (scenario, body) natively, hot, and time the same on the core model.

    Each row is measured in `runs` processes. Raises `UnsupportedError` for a kernel of the other
    architecture.
    """
    for kernel in kernels:
        if kernel.arch is not host_arch():
            raise UnsupportedError(
                f"this machine is {host_arch()}: it cannot execute {kernel.arch}"
            )
    words = [
        (scenario, body)
        for scenario, body in dict.fromkeys(grid)
        if scenario != "untraced" or body == "empty"
    ]
    rows = []
    for kernel in kernels:
        for scenario, body in words:
            progress(f"{kernel.returns} {scenario} {body}")
            rows.append(_scenario(kernel, core, prototype, scenario, body, samples, runs))
    return _records(core, "scenarios", "core cycles per call, everything hot", rows)


def _scenario(
    kernel: Kernel,
    core: Core | None,
    prototype: Prototype,
    word: str,
    body: str,
    samples: int,
    runs: int,
) -> Mapping[str, Value]:
    scenario = parse_scenario(word)
    attachments = [Attachment(program) for program in programs_of(scenario, body)]
    world = TracedWorld(kernel, prototype, attachments, addresses=user_map(kernel.arch))
    world.run(WARM_CALLS, trace=False)
    execution = world.run(TRACED_CALLS)
    loop = world.prepare()
    image = host_image(world.guest)
    code = image.loop(loop, _CALLS)

    def once() -> Cycles:
        return run_on_host([code], image.pages, percpu=image.percpu, samples=samples)[0]

    assert execution.trace is not None
    model = time_trace(execution.trace, core).cycles_per_call if core else None
    row: dict[str, Value] = {
        "arch": kernel.arch.value,
        "kernel": kernel.version,
        "entry": kernel.entry.value if kernel.entry else None,
        "returns": kernel.returns.value,
        "scenario": scenario.word,
        "body": body,
    }
    try:
        return row | _measured("cycles_per_call", _together(once, runs), _CALLS, model)
    except HostBusy as error:
        return row | {"error": str(error)}


def native_kernels(
    kernels: Sequence[MicroKernel],
    core: Core | None,
    samples: int,
    progress: Progress = lambda text: None,
    runs: int = 1,
) -> Records:
    """Micro-kernels: cycles per unit on this CPU and on the core model."""
    if host_arch() is not Arch.X86_64:
        raise UnsupportedError(f"micro-kernels are x86_64 code, this machine is {host_arch()}")
    rows: list[Mapping[str, Value]] = []
    for kernel in kernels:
        progress(kernel.name)
        once, modelled = partial(_kernel, kernel, samples), partial(_kernel_model, kernel)
        units = _LOOPS * kernel.units
        row = _beside(core, "cycles_per_unit", units, once, runs, modelled)
        rows.append({"kernel": kernel.name} | row)
    return _records(core, "micro-kernels", "core cycles per unit of the loop", rows)


def _kernel(kernel: MicroKernel, samples: int) -> Cycles:
    code, pages, base = host_kernel(kernel, _LOOPS)
    return run_on_host([code], pages, percpu=base, samples=samples)[0]


def _kernel_model(kernel: MicroKernel, core: Core) -> float:
    return time_kernel(kernel, core).cycles_per_call / kernel.units


def native_blocks(
    blocks: Sequence[str],
    core: Core | None,
    samples: int,
    progress: Progress = lambda text: None,
    runs: int = 1,
) -> Records:
    """Unrolled blocks of machine code (hex): cycles per iteration, by BHive's method.

    The copies are executed over and over and fit the uop cache of a core that has one: the model
    delivers them from there.
    """
    rows: list[Mapping[str, Value]] = []
    arch = host_arch()
    for text in blocks:
        progress(text[:40])
        try:
            code = bytes.fromhex(text)
            copies = _copies(code)
        except ValueError:
            rows.append({"hex": text, "error": "not hex"})
            continue
        except InputError as error:
            rows.append({"hex": text, "error": str(error)})
            continue
        once, modelled = partial(_block, arch, code, copies, samples), partial(_block_model, code)
        row = _beside(core, "cycles", copies * _BLOCK_ROUNDS, once, runs, modelled)
        mode = {} if "error" in row else {"mode": BLOCK_MODE}
        rows.append({"hex": text} | mode | row)
    return _records(core, "blocks", "core cycles per iteration, unrolled", rows)


def _block_model(code: bytes, core: Core) -> float:
    return throughput(code, core, BLOCK_MODE).cycles


def _copies(code: bytes) -> int:
    """How many copies of a block are measured: so many, and twice as many."""
    if not 0 < len(code) <= _BLOCK_BYTES:
        raise InputError(f"a block has 1 to {_BLOCK_BYTES} bytes, this one {len(code)}")
    return max(4, _BLOCK_BYTES // len(code))


def _block(arch: Arch, code: bytes, copies: int, samples: int) -> Cycles:
    """Cycles of so many copies more, over all rounds."""
    base = user_map(arch).text.base
    size = -(-(2 * copies * len(code) + 64) // PAGE) * PAGE
    registers = dict.fromkeys(_general_registers(arch), _FILL)
    codes, pages = [], []
    for number in range(2):
        begin = base + number * size
        body = code * copies * (number + 1)
        codes.append(HostCode(begin, begin + len(body), registers, _BLOCK_ROUNDS))
        pages.append((begin, 5, body.ljust(size, b"\0")))
    few, many = run_on_host(
        codes,
        pages,
        percpu=_FILL if arch is Arch.X86_64 else 0,
        provided=_BLOCK_PAGES,
        fill=_FILL << 32 | _FILL,
        samples=samples,
    )
    return Cycles(
        median=many.median - few.median,
        low=many.low - few.median,
        high=many.high - few.median,
        kept=min(few.kept, many.kept),
        samples=many.samples,
        counted=many.counted,
    )


def _together(once: Callable[[], Cycles], runs: int) -> Cycles:
    """Several runs as one: the median of their medians, and the extremes of their spread."""
    every = [once() for _ in range(runs)]
    return Cycles(
        median=median(run.median for run in every),
        low=min(run.low for run in every),
        high=max(run.high for run in every),
        kept=sum(run.kept for run in every),
        samples=sum(run.samples for run in every),
        counted=every[0].counted,
    )


def _general_registers(arch: Arch) -> tuple[str, ...]:
    if arch is Arch.X86_64:
        legacy = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
        return (*legacy, *(f"r{number}" for number in range(8, 16)))
    return (*(f"x{number}" for number in range(30)), "sp")


def _measured(name: str, cycles: Cycles, units: int, model: float | None) -> dict[str, Value]:
    native = cycles.median / units
    row: dict[str, Value] = {
        f"native_{name}": round(native, 3),
        f"native_{name}_low": round(cycles.low / units, 3),
        f"native_{name}_high": round(cycles.high / units, 3),
        "samples_kept": cycles.kept,
        "samples": cycles.samples,
        "clock": "perf" if cycles.counted else "tsc",
    }
    if model is not None:
        row[f"model_{name}"] = round(model, 3)
        row["model_error_percent"] = round(100 * (model / native - 1), 1)
    return row


def _beside(
    core: Core | None,
    name: str,
    units: int,
    once: Callable[[], Cycles],
    runs: int,
    modelled: Callable[[Core], float],
) -> dict[str, Value]:
    """What was measured and modelled, or why it was not: fields `error` and `model_error`."""
    try:
        cycles = _together(once, runs)
    except TramposimError as error:
        return {"error": str(error)}
    try:
        return _measured(name, cycles, units, modelled(core) if core else None)
    except TramposimError as error:
        return _measured(name, cycles, units, None) | {"model_error": str(error)}


def _records(
    core: Core | None, what: str, basis: str, rows: Sequence[Mapping[str, Value]]
) -> Records:
    return Records(
        meta={
            "command": "native",
            "version": __version__,
            "cpu": cpu_name(_CPUINFO.read_text()),
            "core": core.name if core else None,
            "what": what,
            "basis": f"{basis}; native: median over samples beside which the core was idle",
        },
        rows=tuple(rows),
    )
