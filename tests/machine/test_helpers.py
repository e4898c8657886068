"""Helpers of the guest runtime that have no map of their own: what they return and change."""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Iterator

import pytest
from support.guest import Guest
from unicorn import arm64_const as arm
from unicorn import x86_const as x86

from tramposim.machine.kerneldata import COMM
from tramposim.machine.maps import (
    PlacedMap,
    add_map,
    hash_entries,
    perf_records,
    queue_values,
    stack_trace,
)
from tramposim.machine.runtime import Region
from tramposim.spec import Arch, Kernel, Map, MapType

ENOENT, E2BIG, ENOMEM, EFAULT, EBUSY, EEXIST, EINVAL, ENOSPC, ERANGE = (
    2,
    7,
    12,
    14,
    16,
    17,
    22,
    28,
    34,
)
BOTH = pytest.mark.parametrize("arch", list(Arch))
HOLE = {Arch.X86_64: 0xFFFF_8881_F000_0000, Arch.ARM64: 0xFFFF_0001_F000_0000}
"""Kernel addresses where nothing is mapped."""
COUNTING = {
    # inc qword [rsi]; cmp qword [rsi], 5; sete al; movzx eax, al; ret
    Arch.X86_64: "48ff06 48833e05 0f94c0 0fb6c0 c3",
    # ldr x2, [x1]; add x2, x2, #1; str x2, [x1]; cmp x2, #5; cset x0, eq; ret
    Arch.ARM64: "220040f9 42040091 220000f9 5f1400f1 e0179f9a c0035fd6",
}
"""A callback that counts in its second argument's memory and stops at 5."""
SUMMING = {
    # mov eax, [rdx]; add [rcx], rax; xor eax, eax; ret
    Arch.X86_64: "8b02 480101 31c0 c3",
    # ldr w4, [x2]; ldr x5, [x3]; add x5, x5, x4; str x5, [x3]; mov x0, #0; ret
    Arch.ARM64: "440040b9 650040f9 a500048b 650000f9 000080d2 c0035fd6",
}
"""A callback of map walks that adds the 32-bit value up in its context."""


class Helpers(Guest):
    def __init__(self, arch: Arch, *maps: Map, cpus: int = 1, version: str = "7.2") -> None:
        super().__init__(Kernel(arch, version=version), cpus)
        self.maps: list[PlacedMap] = [add_map(self.memory, spec) for spec in maps]
        self.buffer = self.memory.kmalloc(4096, "buffer")
        self.code = self.memory.vmalloc(4096, "callbacks")
        extra = []
        for at, code in ((0, COUNTING), (256, SUMMING)):
            extra.append(Region(self.code + 8192 + at, bytes.fromhex(code[arch]), "callback", True))
        self.boot(extra)
        self.counting, self.summing = self.code + 8192, self.code + 8192 + 256

    def member(self, address: int, member: str, size: int = 8) -> int:
        return self.read(address + self.runtime.structs.offset(member), size)


@BOTH
def test_who_runs_and_where(arch: Arch) -> None:
    guest = Helpers(arch, cpus=2)
    at = guest.buffer
    guest.write_bytes(at, b"\xff" * 32)
    assert guest.call("bpf_get_current_comm", at, 16) == 0
    assert guest.read_bytes(at, 17) == COMM.encode().ljust(16, b"\0") + b"\xff"
    assert guest.call("bpf_get_current_comm", at, 5) == 0
    assert guest.read_bytes(at, 5) == COMM[:4].encode() + b"\0"
    assert guest.call("bpf_get_current_uid_gid") == 0
    assert guest.call("bpf_get_numa_node_id") == 0
    guest.run_on(guest.cpus[1])
    assert guest.call("bpf_get_smp_processor_id") == 1
    assert guest.call("bpf_get_current_pid_tgid") == 1001 << 32 | 1001
    assert guest.call("bpf_get_current_task") == guest.cpus[1].task


@BOTH
def test_clocks_do_not_go_back(arch: Arch) -> None:
    guest = Helpers(arch)
    names = ("bpf_ktime_get_ns", "bpf_ktime_get_boot_ns", "bpf_ktime_get_tai_ns")
    times = [guest.call(name) for _ in range(3) for name in names]
    assert times == sorted(times)
    assert len(set(times)) == len(times)


@BOTH
def test_bad_addresses_are_errors_and_leave_zeroes(arch: Arch) -> None:
    guest = Helpers(arch)
    at = guest.buffer
    guest.write_bytes(at + 64, b"some text\0more")
    for size in (1, 2, 7, 8, 15, 31):
        guest.write_bytes(at, b"\xff" * 40)
        assert guest.signed("bpf_probe_read_kernel", at, size, HOLE[arch]) == -EFAULT
        assert guest.read_bytes(at, 40) == bytes(size) + b"\xff" * (40 - size)
    guest.write_bytes(at, b"\xff" * 16)
    assert guest.signed("bpf_probe_read_kernel", at, 8, 0x1000) == -ERANGE
    assert guest.signed("bpf_probe_read_user", at, 8, 0x1000) == -EFAULT
    assert guest.signed("bpf_probe_read_user", at, 8, at + 64) == -EFAULT
    assert guest.signed("bpf_probe_read_compat", at, 4, at + 64) == 0
    assert guest.read_bytes(at, 4) == b"some"
    assert guest.signed("bpf_probe_read_kernel_str", at, 32, at + 64) == 10
    assert guest.read_bytes(at, 10) == b"some text\0"
    assert guest.signed("bpf_probe_read_kernel_str", at, 5, at + 64) == 5
    assert guest.read_bytes(at, 5) == b"some\0"
    assert guest.signed("bpf_probe_read_kernel_str", at, 5, HOLE[arch]) == -EFAULT
    assert guest.read_bytes(at, 5) == bytes(5)
    # The end of mapped memory in the middle of a read.
    end = guest.cpu.stack_bottom
    assert guest.signed("bpf_probe_read_kernel", at, 16, end - 8) == -EFAULT
    task = guest.cpu.task + guest.runtime.structs.offset("task_struct.pagefault_disabled")
    assert guest.read(task, 4) == 0


@BOTH
def test_strncmp(arch: Arch) -> None:
    guest = Helpers(arch)
    at = guest.buffer
    guest.write_bytes(at, b"abcd\0xx")
    for other, size, expected in ((b"abcd\0yy", 7, 0), (b"abce", 4, -1), (b"abc", 4, 1)):
        guest.write_bytes(at + 64, other + b"\0")
        result = guest.signed("bpf_strncmp", at, size, at + 64)
        assert (result > 0) - (result < 0) == expected
    assert guest.signed("bpf_strncmp", at, 0, at + 64) == 0


@BOTH
def test_loops(arch: Arch) -> None:
    guest = Helpers(arch)
    context = guest.buffer
    assert guest.call("bpf_loop", 3, guest.counting, context, 0) == 3
    assert guest.call("bpf_loop", 30, guest.counting, context, 0) == 2
    assert guest.read(context) == 5
    assert guest.signed("bpf_loop", 3, guest.counting, context, 1) == -EINVAL
    assert guest.signed("bpf_loop", (8 << 20) + 1, guest.counting, context, 0) == -E2BIG


@BOTH
@pytest.mark.parametrize(("start", "end"), [(0, 4), (-3, 2), (5, 5), (7, 3), (0, 1 << 24)])
def test_number_iterator(arch: Arch, start: int, end: int) -> None:
    guest = Helpers(arch)
    it = guest.buffer
    result = guest.signed("bpf_iter_num_new", it, start & 0xFFFFFFFF, end) & 0xFFFFFFFF
    numbers = []
    while address := guest.call("bpf_iter_num_next", it):
        numbers.append(struct.unpack("<i", guest.read_bytes(address, 4))[0])
    if start > end:
        assert result == -EINVAL & 0xFFFFFFFF
    elif end - start > 8 << 20:
        assert result == -E2BIG & 0xFFFFFFFF
    else:
        assert numbers == list(range(start, end))
    guest.call("bpf_iter_num_destroy", it)


@BOTH
def test_may_goto_ends_after_a_quarter_of_a_second(arch: Arch) -> None:
    guest = Helpers(arch)
    count = guest.buffer
    assert guest.call("bpf_check_timed_may_goto", count) == 0xFFFF
    started = guest.read(count + 8)
    assert started > 0
    assert guest.call("bpf_check_timed_may_goto", count) == 0xFFFF
    guest.write(count + 8, (started - 250_000_000) & (1 << 64) - 1)
    assert guest.call("bpf_check_timed_may_goto", count) == 0


@BOTH
def test_may_goto_preserves_the_registers_of_programs(arch: Arch) -> None:
    guest = Helpers(arch)
    if arch is Arch.X86_64:
        kept = [getattr(x86, f"UC_X86_REG_{n}") for n in ("RAX", "RDI", "RSI", "RDX", "RCX", "R8")]
        base, scratch = x86.UC_X86_REG_RBP, x86.UC_X86_REG_R10
    else:
        kept = [arm.UC_ARM64_REG_X0 + n for n in (8, 0, 1, 2, 3, 4)]
        base, scratch = arm.UC_ARM64_REG_X25, arm.UC_ARM64_REG_X9
    for number, register in enumerate(kept):
        guest.emulator.reg_write(register, 0x1234 + number)
    guest.emulator.reg_write(base, guest.buffer + 64)
    guest.emulator.reg_write(scratch, -48 & (1 << 64) - 1)
    guest.call("arch_bpf_timed_may_goto")
    assert [guest.emulator.reg_read(r) for r in kept] == [0x1234 + n for n in range(6)]
    assert guest.emulator.reg_read(scratch) == 0xFFFF
    assert guest.read(guest.buffer + 24) > 0


@BOTH
def test_session_state_of_the_run_context(arch: Arch) -> None:
    guest = Helpers(arch)
    context = guest.buffer
    guest.write(guest.cpu.task + guest.runtime.structs.offset("task_struct.bpf_ctx"), context)
    guest.write(context, 1, 1)
    guest.write(context + 8, 0xC00C1E)
    assert guest.call("bpf_session_is_return", 0) & 0xFF == 1
    assert guest.call("bpf_session_cookie", 0) == 0xC00C1E


@BOTH
def test_locks_turn_interrupts_off(arch: Arch) -> None:
    guest = Helpers(arch)
    lock = guest.buffer

    def interrupts_on() -> bool:
        if arch is Arch.X86_64:
            return bool(guest.emulator.reg_read(x86.UC_X86_REG_EFLAGS) & 0x200)
        return True

    guest.call("bpf_spin_lock", lock)
    assert guest.read(lock, 4) == 1
    assert not interrupts_on() or arch is Arch.ARM64
    guest.call("bpf_spin_unlock", lock)
    assert guest.read(lock, 4) == 0
    assert interrupts_on()


def walk(guest: Guest, function: str, frame: int, *arguments: int) -> int:
    register = x86.UC_X86_REG_RBP if guest.kernel.arch is Arch.X86_64 else arm.UC_ARM64_REG_X29
    guest.emulator.reg_write(register, frame)
    return guest.signed(function, 0, *arguments)


def frames(guest: Guest, *returns: int) -> int:
    """A chain of frames on the task's stack; the address of the innermost."""
    at = guest.cpu.stack_bottom + 0x3000
    for number, address in enumerate(returns):
        last = number + 1 == len(returns)
        guest.write(at + 64 * number, 0 if last else at + 64 * (number + 1))
        guest.write(at + 64 * number + 8, address)
    return at


@BOTH
def test_stack_of_return_addresses(arch: Arch) -> None:
    guest = Helpers(arch)
    text = 0xFFFF_FFFF_8100_0000 if arch is Arch.X86_64 else 0xFFFF_8000_8100_0000
    callers = [text + 0x100 * n for n in range(1, 5)]
    frame = frames(guest, *callers)
    at = guest.buffer
    guest.write_bytes(at, b"\xff" * 128)
    assert walk(guest, "bpf_get_stack_raw_tp", frame, at, 64, 0) == 40
    found = struct.unpack("<8Q", guest.read_bytes(at, 64))
    assert list(found[1:5]) == callers
    assert found[5:] == (0, 0, 0)
    assert walk(guest, "bpf_get_stack_raw_tp", frame, at, 24, 2) == 24
    assert list(struct.unpack("<3Q", guest.read_bytes(at, 24))) == callers[1:]
    assert walk(guest, "bpf_get_stack_raw_tp", frame, at, 20, 0) == -EINVAL
    assert walk(guest, "bpf_get_stack_raw_tp", frame, at, 64, 1 << 20) == -EINVAL
    # A frame pointer that is none ends the walk.
    assert walk(guest, "bpf_get_stack_raw_tp", 0x1234, at, 64, 0) == 8
    guest.write(frame, frame)
    assert walk(guest, "bpf_get_stack_raw_tp", frame, at, 64, 0) == 16


@BOTH
def test_stacks_are_kept_once_each(arch: Arch) -> None:
    guest = Helpers(arch, Map("stacks", MapType.STACK_TRACE, 4, 8 * 16, 3))
    (stacks,) = guest.maps
    text = 0xFFFF_FFFF_8100_0000 if arch is Arch.X86_64 else 0xFFFF_8000_8100_0000
    seen: dict[int, tuple[int, ...]] = {}
    collisions = 0
    for number in range(12):
        callers = (text + number, text + 2 * number)
        frame = frames(guest, *callers)
        result = walk(guest, "bpf_get_stackid_raw_tp", frame, stacks.address, 0)
        if result == -EEXIST:
            collisions += 1
            result = walk(guest, "bpf_get_stackid_raw_tp", frame, stacks.address, 1 << 10)
        if result == -ENOMEM:
            # A stack is replaced by a spare one, and every one is in use.
            assert len(seen) == 3
            continue
        assert result in range(4)
        assert walk(guest, "bpf_get_stackid_raw_tp", frame, stacks.address, 0) == result
        kept = stack_trace(stacks, guest.memory, guest.read_bytes, result)
        assert kept is not None
        assert kept[1:] == callers
        seen[result] = kept
    assert collisions
    for number, kept in seen.items():
        assert stack_trace(stacks, guest.memory, guest.read_bytes, number) == kept
    assert walk(guest, "bpf_get_stackid_raw_tp", 0, stacks.address, 1 << 20) == -EINVAL


@BOTH
def test_perf_buffer(arch: Arch) -> None:
    guest = Helpers(arch, Map("events", MapType.PERF_EVENT_ARRAY, 4, 4, 2), cpus=2)
    (events,) = guest.maps
    current = 0xFFFFFFFF

    def output(data: bytes, flags: int = current) -> int:
        guest.write_bytes(guest.buffer, data)
        arguments = (0, events.address, flags, guest.buffer, len(data))
        return guest.signed("bpf_perf_event_output_raw_tp", *arguments)

    def records(cpu: int) -> list[bytes]:
        return list(perf_records(events, guest.memory, guest.read_bytes, cpu))

    guest.run_on(guest.cpus[1])
    assert output(b"four") == 0
    assert output(b"a longer record") == 0
    assert records(0) == []
    assert records(1) == [b"four", b"a longer record".ljust(20, b"\0")]
    assert output(b"x", flags=0) == -95
    assert output(b"x", flags=2) == -E2BIG
    assert output(b"x", flags=1 << 40) == -EINVAL
    written = 2
    while (result := output(bytes([written]) * 1000)) == 0:
        written += 1
    assert result == -ENOSPC
    assert written == 2 + 32
    assert len(records(1)) == written
    # The reader takes everything; the next record goes round the end.
    layout = guest.memory.structs
    entry = guest.read(events.values + 8)
    buffer = guest.read(guest.read(entry) + layout.offset("perf_event.rb"))
    user = guest.read(buffer + layout.offset("perf_buffer.user_page"))
    head = guest.read(user + 1024)
    guest.write(user + 1032, head)
    across = bytes(range(256)) * 3
    assert output(across) == 0
    assert [r[: len(across)] for r in records(1)] == [across]
    assert guest.read(buffer + layout.offset("perf_buffer.nest"), 4) == 0


@BOTH
@pytest.mark.parametrize("kind", [MapType.QUEUE, MapType.STACK])
def test_queues_and_stacks(arch: Arch, kind: MapType) -> None:
    guest = Helpers(arch, Map("q", kind, 0, 12, 5))
    (queue,) = guest.maps
    chance = random.Random(3)
    model: deque[bytes] = deque()
    end = -1 if kind is MapType.STACK else 0
    for _ in range(150):
        action = chance.random()
        if action < 0.5:
            value, flags = chance.randbytes(12), chance.choice([0, 0, 2, 1])
            guest.write_bytes(guest.buffer, value)
            result = guest.signed("bpf_map_push_elem", queue.address, guest.buffer, flags)
            if flags == 1:
                assert result == -EINVAL
                continue
            if len(model) == 5 and flags == 0:
                assert result == -E2BIG
                continue
            assert result == 0
            if len(model) == 5:
                model.popleft()
            model.append(value)
        else:
            name = chance.choice(["pop", "peek"])
            result = guest.signed(f"bpf_map_{name}_elem", queue.address, guest.buffer)
            got = guest.read_bytes(guest.buffer, 12)
            assert (result, got) == ((0, model[end]) if model else (-ENOENT, bytes(12)))
            if model and name == "pop":
                model.pop() if end else model.popleft()
        assert list(queue_values(queue, guest.memory, guest.read_bytes)) == list(model)


@BOTH
@pytest.mark.parametrize("kind", [MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH])
def test_percpu_hashes(arch: Arch, kind: MapType) -> None:
    guest = Helpers(arch, Map("p", kind, 8, 16, 32), cpus=2)
    (table,) = guest.maps
    key, value = guest.buffer, guest.buffer + 64

    def entries(cpu: int) -> dict[bytes, bytes]:
        return dict(hash_entries(table, guest.memory, guest.read_bytes, cpu))

    guest.write_bytes(key, b"the key.")
    guest.run_on(guest.cpus[1])
    for number in (1, 2):
        guest.write_bytes(value, bytes([number]) * 16)
        assert guest.call("bpf_map_update_elem", table.address, key, value, 0) == 0
    assert entries(1) == {b"the key.": b"\2" * 16}
    assert entries(0) == {b"the key.": bytes(16)}
    mine = guest.call("bpf_map_lookup_elem", table.address, key)
    assert guest.read_bytes(mine, 16) == b"\2" * 16
    other = guest.call("bpf_map_lookup_percpu_elem", table.address, key, 0)
    assert guest.read_bytes(other, 16) == bytes(16)
    assert guest.call("bpf_map_lookup_percpu_elem", table.address, key, 2) == 0
    assert guest.signed("bpf_map_update_elem", table.address, key, value, 1) == -EEXIST
    assert guest.call("bpf_map_delete_elem", table.address, key) == 0
    assert guest.signed("bpf_map_update_elem", table.address, key, value, 2) == -ENOENT
    assert guest.call("bpf_map_lookup_elem", table.address, key) == 0
    assert entries(0) == {}
    for number in range(100):
        guest.write(key, number)
        result = guest.signed("bpf_map_update_elem", table.address, key, value, 0)
        assert result == (0 if number < 32 or kind is MapType.LRU_PERCPU_HASH else -E2BIG)


def walked_maps() -> Iterator[Map]:
    yield Map("a", MapType.ARRAY, 4, 8, 6)
    yield Map("p", MapType.PERCPU_ARRAY, 4, 8, 6)
    yield Map("h", MapType.HASH, 4, 8, 6)
    yield Map("l", MapType.LRU_HASH, 4, 8, 6)
    yield Map("q", MapType.PERCPU_HASH, 4, 8, 6)


@BOTH
@pytest.mark.parametrize("spec", list(walked_maps()), ids=lambda m: m.type.value)
def test_walks_over_maps(arch: Arch, spec: Map) -> None:
    guest = Helpers(arch, spec)
    (placed,) = guest.maps
    key, value = guest.buffer, guest.buffer + 64
    for number in range(6):
        guest.write(key, number, 4)
        guest.write(value, 10 + number)
        assert guest.call("bpf_map_update_elem", placed.address, key, value, 0) == 0
    total = guest.buffer + 128
    walk_all = (placed.address, guest.summing, total, 0)
    assert guest.call("bpf_for_each_map_elem", *walk_all) == 6
    assert guest.read(total) == sum(range(10, 16))
    assert guest.signed("bpf_for_each_map_elem", *walk_all[:3], 1) == -EINVAL


@BOTH
def test_ring_buffer_tells_how_full_it_is(arch: Arch) -> None:
    guest = Helpers(arch, Map("r", MapType.RINGBUF, 0, 0, 4096))
    (ring,) = guest.maps
    guest.call("bpf_ringbuf_output", ring.address, guest.buffer, 100, 0)
    answers = [guest.call("bpf_ringbuf_query", ring.address, what) for what in range(5)]
    assert answers == [112, 4096, 0, 112, 0]
