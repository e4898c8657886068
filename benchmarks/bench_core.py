"""Speed of the core model, side by side with llvm-mca on the same instructions.

End to end: from a trace to the cycles per call (static decode, numbering of addresses, passes until
the steady state is found), the instructions of the trace counted once. Two traces: calls that are
all the same, and the same calls with their data elsewhere each time, which no repetition shortens.
Model alone: every instruction executed, on records that are already packed.

llvm-mca (Debian: package llvm) times the instructions of one x86_64 call, as many iterations of it
as there are calls; what it needs for one iteration (start, parsing) is subtracted. All times are of
the CPU, and the two programs take turns. Run: python benchmarks/bench_core.py [ROUNDS]
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np

from tramposim._native.pipeline import Pipeline
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.trace import Trace
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Attachment, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario
from tramposim.timing import Core, load_core, time_trace
from tramposim.timing.decode import parameters
from tramposim.timing.prepare import prepare

CORES = ("golden-cove", "neoverse-n1")
CALLS = 1000
MCA_CPU = "icelake-server"
_NONE = np.zeros(0, dtype=np.int64)


def trace_of(core: Core) -> Trace:
    """Calls of the pair with empty bodies on the core's architecture, in the emulated machine."""
    programs = programs_of(parse_scenario("fentry+fexit"), "empty")
    prototype = parse_prototype("int bpf_fentry_test1(int a)")
    world = TracedWorld(Kernel(core.arch), prototype, [Attachment(p) for p in programs])
    world.run(4, trace=False)
    trace = world.run(CALLS).trace
    assert trace is not None
    return trace


def moved(trace: Trace) -> Trace:
    """The same calls, each with its data in another place, page by page."""
    accesses = trace.accesses.copy()
    calls = np.searchsorted(trace.calls, accesses["insn"], side="right")
    places = np.random.default_rng(0).integers(1 << 20, size=trace.call_count + 2)
    accesses["address"] += places[calls].astype(np.uint64) << np.uint64(12)
    return replace(trace, accesses=accesses)


def end_to_end(trace: Trace, core: Core) -> Callable[[], object]:
    """The steady state's cycles per call, from the trace."""
    return lambda: time_trace(trace, core)


def model_alone(trace: Trace, core: Core) -> Callable[[], object]:
    """One pass over the packed records of `trace`, executed whole."""
    prepared = prepare(trace, core)
    pipeline = Pipeline(parameters(core), prepared.code.insns, prepared.code.uops)
    return lambda: pipeline.run(prepared.order, prepared.accesses, _NONE, _NONE)


def seconds(work: Callable[[], object]) -> float:
    """CPU time of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def source_of(trace: Trace) -> str:
    """The instructions of one x86_64 call as assembler text."""
    from tramposim.machine.disassembly import disassemble

    lines = [".intel_syntax noprefix"]
    for pc in trace.pcs[int(trace.calls[0]) : int(trace.calls[1])]:
        region = trace.region_of(int(pc))
        start = int(pc) - region.address
        line = next(iter(disassemble(trace.arch, region.code[start : start + 15], int(pc))))
        lines.append(f"{line.mnemonic} {line.operands}".replace("ptr gs:[rip", "ptr [rip"))
    return "\n".join(lines)


def mca_seconds(program: str, source: str, iterations: int) -> float:
    """CPU time of an llvm-mca process; raises `RuntimeError` if it refuses the instructions."""
    command = [program, f"-mcpu={MCA_CPU}", f"-iterations={iterations}", "-all-views=false"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr.splitlines()[0])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints the median rates and, for each round's pair, the median ratio to llvm-mca."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    program = shutil.which("llvm-mca")
    for name in CORES:
        core = load_core(name)
        equal = trace_of(core)
        works = {
            "end to end, equal calls": end_to_end(equal, core),
            "end to end, data move": end_to_end(moved(equal), core),
            "model alone": model_alone(equal, core),
        }
        source = source_of(equal) if program and core.arch is Arch.X86_64 else ""
        rates: dict[str, list[float]] = {what: [] for what in (*works, "llvm-mca")}
        for _ in range(rounds):
            for what, work in works.items():
                rates[what].append(len(equal.pcs) / seconds(work))
            if program and source:
                taken = mca_seconds(program, source, CALLS) - mca_seconds(program, source, 1)
                rates["llvm-mca"].append(len(equal.pcs) / taken)
        for what, found in rates.items():
            if not found:
                continue
            line = f"{name:12} {what:26} {median(found) / 1e6:7.2f} M insn/s"
            if rates["llvm-mca"] and what != "llvm-mca":
                pairs = zip(found, rates["llvm-mca"], strict=True)
                line += f", {median(a / b for a, b in pairs):6.1f} times llvm-mca"
            print(line)
        if not program and core.arch is Arch.X86_64:
            print("llvm-mca     skipped: not installed")


if __name__ == "__main__":
    main()
