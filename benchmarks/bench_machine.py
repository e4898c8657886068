"""The emulated machine: worlds built per second, instructions executed per second.

Both architectures, fsession+cookie with the latency body: a whole world from values (runtime,
map, program, image, entry), then its calls with and without recording the trace.

Run: python benchmarks/bench_machine.py [CALLS]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Attachment, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario

WORLDS = 20


def seconds(work: Callable[[], object]) -> float:
    """Least CPU time of three runs."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Prints a line per architecture."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    prototype = parse_prototype("int bpf_fentry_test1(int a)")
    programs = programs_of(parse_scenario("fsession+cookie"), "latency-cookie")
    attachments = [Attachment(program) for program in programs]
    for arch in Arch:
        kernel = Kernel(arch)

        def build(kernel: Kernel = kernel) -> TracedWorld:
            return TracedWorld(kernel, prototype, attachments)

        world = build()
        world.run(4, trace=False)
        instructions = world.run(calls, trace=False).instructions
        each = seconds(lambda: [build() for _ in range(WORLDS)]) / WORLDS
        plain = seconds(lambda world=world: world.run(calls, trace=False))
        traced = seconds(lambda world=world: world.run(calls, trace=True))
        print(
            f"{arch}: world {1e3 * each:.1f} ms; {instructions / plain / 1e6:.1f} M insn/s, "
            f"{instructions / traced / 1e6:.1f} M insn/s traced"
        )


if __name__ == "__main__":
    main()
