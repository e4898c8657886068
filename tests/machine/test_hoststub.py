"""Stubs that enter and leave natively executed code, run in the emulated machine."""

from __future__ import annotations

import struct

import pytest

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.machine.abi import Snapshots
from tramposim.machine.addresses import user_map
from tramposim.machine.caller import CALLEE_SAVED
from tramposim.machine.hoststub import SAVE_AREA, build_stub, jump_to, user_mode_code
from tramposim.machine.machine import Machine
from tramposim.spec import Arch, Kernel

CODE = {
    # mov rax, rdi; add rax, r15; mov r15, rax; xor ebx, ebx; push rax: clobbers and leaves
    Arch.X86_64: bytes.fromhex("4889f8 4c01f8 4989c7 31db 50"),
    # add x28, x0, x28; mov x19, #0; sub sp, sp, #16
    Arch.ARM64: struct.pack("<3I", 0x8B1C001C, 0xD2800013, 0xD10043FF),
}
REGISTERS = {
    Arch.X86_64: ({"rdi": 5, "r15": 7, "rsp": 0x5000_8000}, "r15", "rsp"),
    Arch.ARM64: ({"x0": 5, "x28": 7, "sp": 0x5000_8000, "tpidr_el0": 9}, "x28", "sp"),
}


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("arch", list(Arch))
def test_a_stub_keeps_what_a_function_must_keep_and_returns_ticks(arch: Arch, rounds: int) -> None:
    areas = user_map(arch)
    machine = Machine(Kernel(arch), areas)
    at, save, stack, end = areas.text.base, 0x5000_0000, 0x5000_4000, 0x3000_0000
    body, (registers, result, pointer) = CODE[arch], REGISTERS[arch]
    stub = build_stub(arch, at, save, at + 0x800, registers, rounds)
    leave = at + 0x800 + len(body)
    machine.place(at, stub.code, READ | EXECUTE, "stub")
    machine.place(at + 0x800, body + jump_to(arch, leave, stub.leave), READ | EXECUTE, "body")
    machine.map(save, SAVE_AREA, READ | WRITE)
    machine.map(stack, 0x8000, READ | WRITE)
    engine = machine.engine
    kept = {name: 0x1111 * (n + 1) for n, name in enumerate(CALLEE_SAVED[arch])}
    for name, value in (kept | {pointer: stack + 0x2000}).items():
        engine.set_register(name, value)
    if arch is Arch.X86_64:
        machine.write_int(stack + 0x2000, end)
    else:
        engine.set_register("x30", end)
    engine.set_clock_rate(1_000_000_000, 1_000_000_000)
    machine.place(end, bytes(16), READ | EXECUTE)
    engine.watch({stub.leave})
    machine.run(at, end, 1000)
    left = engine.registers()
    assert {name: left[name] for name in kept} == kept
    assert left[pointer] == stack + 0x2000 + (8 if arch is Arch.X86_64 else 0)
    ticks = left["rax" if arch is Arch.X86_64 else "x0"]
    assert 0 < ticks < 1000
    snapshots = Snapshots.of(engine.take_snapshots(), tuple(engine.register_ids))
    assert snapshots.values(snapshots.at(stub.leave), result).tolist() == [12] * rounds


def test_switching_interrupts_becomes_nops_on_x86_64() -> None:
    # pushfq; pop rax; cli; mov ecx, 0xfb (an immediate, not sti); sti; stac; clac
    code = bytes.fromhex("9c 58 fa b9fb000000 fb 0f01cb 0f01ca")
    user, _ = user_mode_code(Arch.X86_64, code, 0x1000)
    assert user == bytes.fromhex("9c 58 90 b9fb000000 90 0f1f00 0f1f00")


def test_what_only_an_arm64_kernel_may_execute_is_replaced() -> None:
    # mrs x1, daif; msr daifset, #3; msr daif, x1; mrs x2, tpidr_el1; mrs x3, sp_el0; add
    words = (0xD53B4221, 0xD50343DF, 0xD51B4221, 0xD538D082, 0xD5384103, 0x8B1C001C)
    user, used = user_mode_code(Arch.ARM64, struct.pack("<6I", *words), 0x1000, 0x1100)
    # mov x1, #0; nop; nop; mrs x2, tpidr_el0; ldr x3, 0x1100; add
    wanted = (0xD2800001, 0xD503201F, 0xD503201F, 0xD53BD042, 0x58000783, 0x8B1C001C)
    assert struct.unpack("<6I", user) == wanted
    assert used
