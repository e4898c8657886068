"""Speed of the core model: timed instructions per second, end to end and the model alone.

End to end: from a stored trace to the steady state's cycles per call (static decode, numbering
of addresses, passes until the state repeats), counting the instructions of all passes. Model
alone: `Pipeline.run` on records that are already packed. Beside it llvm-mca (Debian: package
llvm), if it is there, on the instructions of one x86_64 call. Run: python
benchmarks/bench_core.py
"""

from __future__ import annotations

import shutil
import subprocess
import time

import numpy as np

from tramposim._native.pipeline import Pipeline
from tramposim._native.uarch import index_addresses
from tramposim.machine.trace import Trace
from tramposim.spec import Arch, Attachment, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario
from tramposim.timing import Core, load_core, time_trace
from tramposim.timing.decode import mark_windows, parameters, static_code

CORES = ("golden-cove", "neoverse-n1")
CALLS = 1000
SECONDS = 1.0


def trace_of(core: Core) -> Trace:
    """Calls of the pair with empty bodies on the core's architecture, by the shipped machine."""
    from tramposim.machine.traced import TracedWorld
    from tramposim.spec import Prototype, Value

    programs = programs_of(parse_scenario("fentry+fexit"), "empty")
    prototype = Prototype("bpf_fentry_test1", (Value(4, True),), Value(4, True))
    world = TracedWorld(
        Kernel(core.arch), prototype, tuple(Attachment(program) for program in programs)
    )
    world.run(4, trace=False)
    trace = world.run(CALLS).trace
    assert trace is not None
    return trace


def end_to_end(trace: Trace, core: Core) -> float:
    """Instructions per second through `time_trace`, counting those of the recorded calls once."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        time_trace(trace, core)
        done += len(trace.pcs)
    return done / (time.perf_counter() - start)


def model_alone(trace: Trace, core: Core) -> float:
    """Instructions per second through the pipeline on packed records."""
    order = np.empty(len(trace.pcs), dtype=np.int32)
    addresses = index_addresses(np.ascontiguousarray(trace.pcs), order)
    code = [
        region.code[address - region.address :][:15]
        for address in addresses
        for region in (trace.region_of(address),)
    ]
    static = static_code(core, addresses, code)
    mark_windows(core, static.insns, static.uops)
    pipeline = Pipeline(parameters(core), static.insns, static.uops)
    marks, cycles = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        pipeline.run(order, trace.accesses, marks, cycles)
        done += len(order)
    return done / (time.perf_counter() - start)


def llvm_mca(trace: Trace) -> str:
    """Instructions per second of llvm-mca on one call of `trace`, in words."""
    from tramposim.machine.disassembly import disassemble

    program = shutil.which("llvm-mca")
    if program is None:
        return "skipped: not installed"
    lines = [".intel_syntax noprefix"]
    for pc in trace.pcs[int(trace.calls[0]) : int(trace.calls[1])]:
        region = trace.region_of(int(pc))
        start = int(pc) - region.address
        line = next(iter(disassemble(trace.arch, region.code[start : start + 15], int(pc))))
        lines.append(f"{line.mnemonic} {line.operands}".replace("ptr gs:[rip", "ptr [rip"))
    command = [program, "-mcpu=icelake-server", f"-iterations={CALLS}", "-all-views=false"]
    start_time = time.perf_counter()
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    if done.returncode:
        return f"skipped: {done.stderr.splitlines()[0]}"
    speed = (len(lines) - 1) * CALLS / (time.perf_counter() - start_time)
    return f"{speed / 1e6:.2f} M insn/s (icelake-server, {CALLS} calls)"


def main() -> None:
    for name in CORES:
        core = load_core(name)
        trace = trace_of(core)
        both = end_to_end(trace, core), model_alone(trace, core)
        print(
            f"{name:12} end to end {both[0] / 1e6:6.2f} M insn/s, model alone {both[1] / 1e6:6.2f}"
        )
        if core.arch is Arch.X86_64:
            print(f"{'llvm-mca':12} {llvm_mca(trace)}")


if __name__ == "__main__":
    main()
