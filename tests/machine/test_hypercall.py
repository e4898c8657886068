"""Hypercalls: the host gets what the program passed, the program gets what the host returned."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tramposim.bpf.asm import assemble
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.guestkernel import GuestKernel
from tramposim.machine.traced import TracedFunction
from tramposim.spec import Arch, Kernel, Returns

SOURCE = """
.map seen array key=4 value=8 entries=1
.section fentry/f
p:
    r1 = 1
    r2 = 2
    r3 = 3
    r4 = 4
    r5 = 0x123456789abcdef ll
    call bpf_trace_printk
    r1 = map[seen][0] ll
    *(u64 *)(r1 + 0) = r0
    r1 = 9
    call bpf_get_prandom_u32
    r0 = 0
    exit
"""

KERNELS = (
    Kernel(Arch.X86_64),
    Kernel(Arch.X86_64, returns=Returns.SRSO),
    Kernel(Arch.X86_64, returns=Returns.ITS),
    Kernel(Arch.ARM64),
)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"{kernel.arch}-{kernel.returns}")
def test_arguments_results_counts_and_trace(kernel: Kernel) -> None:
    calls: list[Sequence[int]] = []

    def printk(arguments: Sequence[int]) -> int:
        calls.append(list(arguments))
        return -5

    guest = GuestKernel(kernel)
    guest.add_hypercalls({"bpf_trace_printk": printk, "bpf_get_prandom_u32": lambda _: 7})
    programs = [guest.load(program) for program in assemble(SOURCE, "test")]
    function = TracedFunction(guest, parse_prototype("int f(int a)"), [(p, 0) for p in programs])
    execution = function.run(3)
    assert calls == [[1, 2, 3, 4, 0x123456789ABCDEF]] * 3
    assert guest.array("seen") == [(-5 & (1 << 64) - 1).to_bytes(8, "little")]
    assert guest.hypercalls is not None
    assert guest.hypercalls.counts == {"bpf_trace_printk": 3, "bpf_get_prandom_u32": 3}
    # The trace is that of one run: nothing is lost or recorded twice where the host was asked.
    assert execution.trace is not None
    assert len(execution.trace.pcs) == execution.instructions
    assert execution.trace.call_count == 3
    entry = guest.symbols["bpf_trace_printk"]
    assert sum(1 for pc in execution.trace.pcs.tolist() if pc == entry) == 3
