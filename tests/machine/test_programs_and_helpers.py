"""Programs that call the runtime's helpers, compiled and attached: what comes out of them."""

from __future__ import annotations

import pytest

from tramposim.bpf.asm import assemble
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.guestkernel import GuestKernel
from tramposim.machine.traced import TracedFunction
from tramposim.spec import Arch, Kernel

KERNELS = [Kernel(arch, version=v) for arch in Arch for v in ("6.12", "7.0", "7.2")]

SOURCE = """
.map events perf_event_array key=4 value=4 entries=1
.map ring ringbuf key=0 value=0 entries=4096
.map stacks stack_trace key=4 value=128 entries=16
.map results queue key=0 value=8 entries=4
.map recent lru_percpu_hash key=8 value=8 entries=16
.section fentry
p:
    r6 = r1
    r1 = r10
    r1 += -16
    r2 = 16
    call bpf_get_current_comm
    r1 = r6
    r2 = map[events] ll
    r3 = 0xffffffff ll
    r4 = r10
    r4 += -16
    r5 = 12
    call bpf_perf_event_output
    r1 = map[ring] ll
    r2 = r10
    r2 += -16
    r3 = 16
    r4 = 0
    call bpf_ringbuf_output
    r1 = r6
    r2 = map[stacks] ll
    r3 = 0
    call bpf_get_stackid
    *(u64 *)(r10 - 8) = r0
    r1 = map[results] ll
    r2 = r10
    r2 += -8
    r3 = 0
    call bpf_map_push_elem
    r1 = map[recent] ll
    r2 = r10
    r2 += -8
    r3 = r10
    r3 += -16
    r4 = 0
    call bpf_map_update_elem
    r1 = 0x643d746f6e206425 ll
    *(u64 *)(r10 - 32) = r1
    r1 = 10
    *(u64 *)(r10 - 24) = r1
    r1 = r10
    r1 += -32
    r2 = 16
    r3 = 42
    call bpf_trace_printk
    r1 = r10
    r1 += -48
    r2 = 8
    r3 = 0x100
    call bpf_probe_read
    *(u64 *)(r10 - 8) = r0
    r1 = map[results] ll
    r2 = r10
    r2 += -8
    r3 = 0
    call bpf_map_push_elem
    r0 = 0
    exit
"""


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: f"{k.arch}-{k.version}")
def test_what_programs_leave_behind(kernel: Kernel) -> None:
    guest = GuestKernel(kernel)
    (program,) = assemble(SOURCE)
    loaded = guest.load(program)
    function = TracedFunction(guest, parse_prototype("int bpf_fentry_test1(int a)"), [(loaded, 0)])
    assert function.run(1).returns == (2,)
    assert guest.printed() == ["42 not=d"]
    assert guest.records("events") == [b"tramposim\0\0\0"]
    assert guest.records("ring") == [b"tramposim\0\0\0\0\0\0\0"]
    number, fault = guest.queue("results")
    assert int.from_bytes(fault, "little", signed=True) == -14
    assert guest.hash("recent") == {number: b"tramposi"}
    stack = guest.stack("stacks", int.from_bytes(number, "little"))
    assert stack is not None
    names = [guest.machine.symbol_of(address).split("+")[0] for address in stack]
    assert names[:3] == ["bpf_prog_p", "bpf_trampoline_bpf_fentry_test1", "bpf_fentry_test1"]
