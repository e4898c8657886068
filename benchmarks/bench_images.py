"""Images built per second: a one-argument fsession, new addresses for every image.

Run: python benchmarks/bench_images.py [SECONDS]
"""

from __future__ import annotations

import sys
import time

from tramposim.jit.trampoline import TrampolineRequest, build_trampoline
from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.spec import Arch, Kernel, ProgKind, Prototype, Value

TEXT = {Arch.X86_64: 0xFFFFFFFF81200000, Arch.ARM64: 0xFFFF800080200000}
CODE = {Arch.X86_64: 0xFFFFFFFFC0000000, Arch.ARM64: 0xFFFF800092000000}
FLAGS = {
    Arch.X86_64: TrampFlag.CALL_ORIG,
    Arch.ARM64: TrampFlag.CALL_ORIG | TrampFlag.SKIP_FRAME,
}
SYMBOLS = (
    "__bpf_tramp_enter",
    "__bpf_tramp_exit",
    "__bpf_prog_enter_recur",
    "__bpf_prog_exit_recur",
)
BATCH = 2000


def request(
    kernel: Kernel, symbols: dict[str, int], prototype: Prototype, number: int
) -> TrampolineRequest:
    code = CODE[kernel.arch]
    node = Node(
        0xFFFF888100000000 + 64 * number,
        code + 64 * (number & 0xFFF),
        ProgKind.FSESSION,
        cookie=number,
        session_cookie=True,
    )
    return TrampolineRequest(
        kernel,
        prototype,
        FLAGS[kernel.arch],
        code + 0x100000,
        0xFFFF888200012400 + 1024 * number,
        TEXT[kernel.arch] + 0x400000,
        symbols,
        fentry=(node,),
        fexit=(node,),
        func_has_endbr=True,
    )


def rate(kernel: Kernel, seconds: float, with_requests: bool) -> float:
    symbols = {name: TEXT[kernel.arch] + 256 * i for i, name in enumerate(SYMBOLS)}
    prototype = Prototype("f", (Value(4, signed=True),), Value(4, signed=True))
    built, spent = 0, 0.0
    while spent < seconds:
        numbers = range(built, built + BATCH)
        if not with_requests:
            requests = [request(kernel, symbols, prototype, number) for number in numbers]
        start = time.process_time()
        if with_requests:
            requests = [request(kernel, symbols, prototype, number) for number in numbers]
        for item in requests:
            build_trampoline(item)
        spent += time.process_time() - start
        built += BATCH
    return built / spent


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    for arch in Arch:
        kernel = Kernel(arch)
        for with_requests in (False, True):
            images = rate(kernel, seconds, with_requests)
            what = "requests and images" if with_requests else "images"
            print(f"{arch.value:8} {what:20} {images:>12,.0f} per second")


if __name__ == "__main__":
    main()
