"""Functions called in a loop in the guest: values, instruction counts, the trace, faults."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.errors import GuestFault, InputError, UnsupportedError
from tramposim.kernel.prototype import place_arguments
from tramposim.machine.addresses import address_map
from tramposim.machine.caller import build_loop, new_stack, prepare_stack
from tramposim.machine.execution import Execution, run_calls
from tramposim.machine.machine import Machine
from tramposim.machine.target import patch_entry, place_target
from tramposim.machine.trace import STORE
from tramposim.spec import Arch, Entry, Kernel, Prototype, Returns, Value

INT = Value(4, signed=True)
LONG = Value(8)
TEST1 = Prototype("bpf_fentry_test1", (INT,), INT)


def call(
    machine: Machine, prototype: Prototype, function: int, values: list[int], calls: int = 1
) -> Execution:
    places = place_arguments(prototype.arguments, machine.arch).slots
    arguments = list(zip(places, values, strict=True))
    loop = build_loop(machine, function, arguments)
    prepare_stack(machine, arguments, new_stack(machine))
    return run_calls(machine, loop, calls)


@pytest.mark.parametrize(("arch", "per_call"), [(Arch.X86_64, 8), (Arch.ARM64, 8)])
def test_untraced_function_called_in_a_loop(arch: Arch, per_call: int) -> None:
    machine = Machine(Kernel(arch))
    target = place_target(machine, TEST1)
    execution = call(machine, TEST1, target.address, [41], calls=5)
    assert execution.returns == (42,) * 5
    trace = execution.trace
    assert trace is not None
    # x86_64: mov edi, call, endbr64, nop, lea, ret, dec, jnz (the hardware's `untraced`, 8);
    # arm64: mov, bl, mov x9, nop, add, ret, subs, b.ne.
    assert execution.instructions == len(trace.pcs) == 5 * per_call
    assert trace.calls.tolist() == [per_call * n for n in range(6)]
    starts = trace.pcs[trace.calls[:-1]]
    assert set(starts.tolist()) == {machine.symbols["calling_loop"]}
    assert machine.symbols["calling_loop"] % 64 == 0
    if arch is Arch.X86_64:
        flags = trace.accesses["flags"].tolist()
        assert flags == [STORE, 0] * 5
        assert trace.region_of(int(trace.pcs[2])).name == "bpf_fentry_test1"


BPF_TEST_FUNCTIONS = [
    # net/bpf/test_run.c: function, arguments, what it is called with there, what it returns
    ("bpf_fentry_test2", (INT, LONG), [2, 3], 5),
    ("bpf_fentry_test3", (Value(1, signed=True), INT, LONG), [4, 5, 6], 15),
    ("bpf_fentry_test4", (LONG, Value(1, signed=True), INT, LONG), [7, 8, 9, 10], 34),
    ("bpf_fentry_test5", (LONG, LONG, Value(2, signed=True), INT, LONG), [11, 12, 13, 14, 15], 65),
    (
        "bpf_fentry_test6",
        (LONG, LONG, Value(2, signed=True), INT, LONG, LONG),
        [16, 17, 18, 19, 20, 21],
        111,
    ),
    ("bpf_fentry_test7", (LONG,), [0], 0),
]


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(("name", "arguments", "values", "result"), BPF_TEST_FUNCTIONS)
def test_kernel_test_functions(
    arch: Arch, name: str, arguments: tuple[Value, ...], values: list[int], result: int
) -> None:
    machine = Machine(Kernel(arch))
    prototype = Prototype(name, arguments, INT)
    target = place_target(machine, prototype)
    assert call(machine, prototype, target.address, values).returns[0] & 0xFFFFFFFF == result


@pytest.mark.parametrize("arch", list(Arch))
def test_modify_return_functions_add_one_behind_their_pointer(arch: Arch) -> None:
    machine = Machine(Kernel(arch))
    cell = machine.kmalloc(4)
    machine.write_int(cell, 2, 4)
    arguments = (INT, LONG, Value(2, signed=True), INT, LONG, Value(1, signed=True), INT)
    prototype = Prototype("bpf_modify_return_test2", arguments, INT)
    target = place_target(machine, prototype)
    execution = call(machine, prototype, target.address, [1, cell, 3, 4, 5, 0x106, 7])
    assert execution.returns[0] == 1 + 3 + 3 + 4 + 5 + 6 + 7
    assert machine.read_int(cell, 4) == 3


@pytest.mark.parametrize("arch", list(Arch))
def test_other_functions_sum_all_their_slots(arch: Arch) -> None:
    machine = Machine(Kernel(arch))
    pair = Value(16, struct=True)
    prototype = Prototype("f", (LONG,) * 5 + (pair, INT, pair), LONG)
    target = place_target(machine, prototype)
    values = [1 << n for n in range(10)]
    assert call(machine, prototype, target.address, values).returns == ((1 << 10) - 1,)


def golden(shared: Path, arch: Arch, name: str) -> tuple[dict[str, int], dict[str, object]]:
    symbols: dict[str, int] = {}
    with lzma.open(shared / "golden" / f"smoke-{arch}.jsonl.xz", "rt") as lines:
        for line in lines:
            record = json.loads(line)
            if record["rec"] == "boot":
                symbols = record["symbols"]
            elif record["id"] == name:
                return symbols, record
    raise AssertionError(name)


STUBS = {
    Arch.X86_64: {True: "b801000000c3", False: "c3"},
    Arch.ARM64: {True: "200080d2c0035fd6", False: "c0035fd6"},
}
# The least that a direct call needs, x30 being behind the call site and x9 the caller's:
# ldur x11, [x30, #-16]; ldr x17, [x11, #192]; br x17
FTRACE_CALLER = "cb035ff8716140f920021fd6"


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("name", ["n1.bpf_fentry_test1.fs", "n1.bpf_fentry_test1.fe_fx"])
def test_captured_images_run_at_their_addresses(shared: Path, arch: Arch, name: str) -> None:
    symbols, record = golden(shared, arch, name)
    text = record["func_addr"] & ~0xFFFFFF
    machine = Machine(Kernel(arch), address_map(arch, text))
    code = READ | EXECUTE
    for symbol, returns_one in [
        ("__bpf_prog_enter_recur", True),
        ("__bpf_prog_exit_recur", False),
        ("__bpf_tramp_enter", False),
        ("__bpf_tramp_exit", False),
    ]:
        machine.place(symbols[symbol], bytes.fromhex(STUBS[arch][returns_one]), code, symbol)
    programs = []
    for program in record["progs"]:
        machine.place(program["bpf_func"], bytes.fromhex(program["jited"]), code, program["name"])
        programs.append(program["bpf_func"])
    machine.place(record["image"], bytes.fromhex(record["img"]), code, "image")
    entry, ops = Entry.JMP, 0
    if arch is Arch.ARM64:
        caller = symbols["ftrace_caller"]
        machine.place(caller, bytes.fromhex(FTRACE_CALLER), code, "ftrace_caller")
        machine.add_symbols({"ftrace_caller": caller})
        entry, ops = Entry.FTRACE, machine.kmalloc(512)
        machine.write_int(ops + 192, record["image"])
    target = place_target(machine, TEST1, record["func_addr"])
    patch_entry(machine, target, entry, record["image"], ops)
    execution = call(machine, TEST1, target.address, [1], calls=3)
    assert execution.returns == (2, 2, 2)
    assert execution.trace is not None
    pcs = execution.trace.pcs
    for function in set(programs):
        runs = programs.count(function) * (2 if "fs" in name.split(".")[-1] else 1)
        assert np.count_nonzero(pcs == np.uint64(function)) == 3 * runs
    assert np.count_nonzero(pcs == np.uint64(target.body)) == 3


@pytest.mark.parametrize("arch", list(Arch))
def test_a_function_that_breaks_the_calling_convention_is_named(arch: Arch) -> None:
    machine = Machine(Kernel(arch))
    target = place_target(machine, TEST1)
    # x86_64: xor ebx,ebx; arm64: mov x19,xzr
    machine.write(target.body, bytes.fromhex("31db90" if arch is Arch.X86_64 else "f3031faa"))
    register = "rbx" if arch is Arch.X86_64 else "x19"
    with pytest.raises(GuestFault, match=f"callee-saved preserved .*{register} is 0x0"):
        call(machine, TEST1, target.address, [1], calls=2)


@pytest.mark.parametrize("arch", list(Arch))
def test_a_wild_entry_is_reported_with_symbols_and_branches(arch: Arch) -> None:
    machine = Machine(Kernel(arch))
    target = place_target(machine, TEST1)
    near = target.address + 0x100000
    patch_entry(machine, target, Entry.JMP if arch is Arch.X86_64 else Entry.BL, near)
    with pytest.raises(GuestFault) as fault:
        call(machine, TEST1, target.address, [1])
    text = str(fault.value)
    assert f"({TEST1.name}+0x4), " in text
    assert f" jumps to unmapped memory at {near:#x}" in text
    assert "last branches" in text
    assert "(calling_loop" in text


def test_entries_and_returns_that_do_not_exist_are_refused() -> None:
    machine = Machine(Kernel(Arch.X86_64))
    target = place_target(machine, TEST1)
    with pytest.raises(InputError, match="not entered by ftrace"):
        patch_entry(machine, target, Entry.FTRACE, target.address)
    machine = Machine(Kernel(Arch.X86_64, returns=Returns.SRSO))
    with pytest.raises(UnsupportedError, match="srso_return_thunk"):
        place_target(machine, TEST1)


def test_memory_is_mapped_on_demand_and_guarded() -> None:
    machine = Machine(Kernel(Arch.X86_64))
    with pytest.raises(GuestFault):
        machine.read(machine.addresses.objects.base, 1)
    assert machine.kmalloc(720) % 1024 == 0
    assert machine.kmalloc(90) % 32 == 0
    machine.place(0x10000, b"data", READ | WRITE)
    with pytest.raises(InputError, match="permissions"):
        machine.map(0x10000, 1, READ | EXECUTE)
