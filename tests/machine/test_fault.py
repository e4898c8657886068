"""Sandbox: whatever guest code does wrong ends in a report that says what, where and how."""

from __future__ import annotations

import pytest

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.errors import FaultReport, GuestFault, InputError
from tramposim.machine.machine import Machine
from tramposim.spec import Arch, Kernel

BASE = {Arch.X86_64: 0xFFFFFFFFC0000000, Arch.ARM64: 0xFFFF800083010000}
NOWHERE = {Arch.X86_64: 0xFFFF888F00000000, Arch.ARM64: 0xFFFF000F00000000}

# Encodings: Intel SDM volume 2; Arm ARM chapter C6.
CASES = [
    (Arch.X86_64, "ffe0", "unmapped-fetch", "jmp rax"),
    (Arch.X86_64, "ff23", "protected-fetch", "jmp qword ptr [rbx]"),
    (Arch.X86_64, "ebfe", "budget", "jmp 0x"),
    (Arch.X86_64, "488b08", "unmapped-read", "mov rcx, qword ptr [rax]"),
    (Arch.X86_64, "488908", "unmapped-write", "mov qword ptr [rax], rcx"),
    (Arch.X86_64, "48890d00000000", "protected-write", "mov qword ptr [rip], rcx"),
    (Arch.X86_64, "0f0b", "undefined-instruction", "ud2"),
    (Arch.X86_64, "48cf", "exception", "iretq"),
    (Arch.X86_64, "cc", "exception", "int3"),
    (Arch.X86_64, "48f7f2", "exception", "div rdx"),
    (Arch.X86_64, "f4", "halted", "hlt"),
    (Arch.X86_64, "ee", "outside-world", "out dx, al"),
    (Arch.X86_64, "e460", "outside-world", "in al, 0x60"),
    (Arch.X86_64, "0f05", "outside-world", "syscall"),
    (Arch.ARM64, "00001fd6", "unmapped-fetch", "br x0"),
    (Arch.ARM64, "20001fd6", "protected-fetch", "br x1"),
    (Arch.ARM64, "00000014", "budget", "b #0x"),
    (Arch.ARM64, "020040f9", "unmapped-read", "ldr x2, [x0]"),
    (Arch.ARM64, "020000f9", "unmapped-write", "str x2, [x0]"),
    (Arch.ARM64, "420000f9", "protected-write", "str x2, [x2]"),
    (Arch.ARM64, "00000000", "undefined-instruction", "udf #0"),
    (Arch.ARM64, "00c03cd5", "undefined-instruction", "mrs x0, vbar_el2"),
    (Arch.ARM64, "010000d4", "exception", "svc #0"),
    (Arch.ARM64, "000020d4", "exception", "brk #0"),
    (Arch.ARM64, "7f2003d5", "halted", "wfi"),
    (Arch.ARM64, "002018d5", "outside-world", "msr ttbr0_el1, x0"),
]


def fault_of(arch: Arch, code: bytes, budget: int = 1000) -> tuple[FaultReport, str]:
    """Run a jump to `code`; rax/x0 points nowhere, x1 and [rbx] to data, x2 to the code."""
    machine = Machine(Kernel(arch))
    jump = b"\xeb\x0e" if arch is Arch.X86_64 else (0x14000004).to_bytes(4, "little")
    base, data = BASE[arch], machine.kmalloc(64)
    machine.place(base, jump.ljust(16, b"\0") + code, READ | EXECUTE)
    machine.add_symbols({"astray": base})
    machine.write_int(data, data)
    registers = {"rax": NOWHERE[arch], "rbx": data, "rdx": 0, "rsp": data + 32}
    if arch is Arch.ARM64:
        registers = {"x0": NOWHERE[arch], "x1": data, "x2": base, "sp": data + 32}
    for name, value in registers.items():
        machine.engine.set_register(name, value)
    with pytest.raises(GuestFault) as fault:
        machine.run(base, base + 0x800, budget)
    assert fault.value.report is not None
    return fault.value.report, str(fault.value)


@pytest.mark.parametrize(("arch", "code", "reason", "instruction"), CASES)
def test_going_astray_is_reported(arch: Arch, code: str, reason: str, instruction: str) -> None:
    report, text = fault_of(arch, bytes.fromhex(code))
    assert report.reason == reason
    assert report.pc == BASE[arch] + 16
    assert report.symbol == "astray+0x10"
    assert report.instruction.startswith(instruction)
    came_from = report.pc if reason == "budget" else BASE[arch]
    assert report.branches[0] == (came_from, BASE[arch] + 16)
    assert f"{report.pc:#x} (astray+0x10), '{report.instruction}'," in text
    if reason.startswith("unmapped"):
        assert report.address == NOWHERE[arch]
        assert f"at {NOWHERE[arch]:#x}" in text


@pytest.mark.parametrize("arch", list(Arch))
def test_the_last_sixteen_branches_are_shown(arch: Arch) -> None:
    # Count down from 40 and run into an undefined instruction.
    code = {
        Arch.X86_64: "b928000000" + "ffc9" + "75fc" + "0f0b",
        Arch.ARM64: "03058052" + "63040071" + "e1ffff54" + "00000000",
    }[arch]
    report, text = fault_of(arch, bytes.fromhex(code))
    loop = BASE[arch] + 16 + (7 if arch is Arch.X86_64 else 8)
    assert len(report.branches) == 16
    assert set(report.branches) == {(loop, loop - (2 if arch is Arch.X86_64 else 4))}
    assert text.count(" -> ") == 16


@pytest.mark.parametrize("arch", list(Arch))
def test_the_budget_counts_instructions(arch: Arch) -> None:
    code = {Arch.X86_64: "ebfe", Arch.ARM64: "00000014"}[arch]
    report, text = fault_of(arch, bytes.fromhex(code), budget=77)
    assert report.executed == 77
    assert "an endless loop?) after 77 instructions" in text


@pytest.mark.parametrize("arch", list(Arch))
def test_data_appears_on_demand_only_if_asked_and_only_for_the_kernel(arch: Arch) -> None:
    machine = Machine(Kernel(arch))
    base, wanted = BASE[arch], NOWHERE[arch] + 0xFFC
    load, register = {
        Arch.X86_64: (bytes.fromhex("488b08") + b"\x90", "rax"),
        Arch.ARM64: (bytes.fromhex("020040f9"), "x0"),
    }[arch]
    machine.place(base, load, READ | EXECUTE)
    machine.engine.set_register(register, wanted)
    machine.run(base, base + 4, 10, demand=True)
    assert machine.engine.demanded == [NOWHERE[arch], NOWHERE[arch] + 0x1000]
    assert machine.read_int(wanted) == 0
    machine.engine.set_register(register, 0x10)
    with pytest.raises(GuestFault, match="reads unmapped memory at 0x10, 8 bytes"):
        machine.run(base, base + 4, 10, demand=True)


@pytest.mark.parametrize("arch", list(Arch))
def test_memory_on_demand_has_a_limit(arch: Arch) -> None:
    machine = Machine(Kernel(arch))
    base, register = BASE[arch], {Arch.X86_64: "rax", Arch.ARM64: "x0"}[arch]
    # Store, go to the next page, repeat.
    code = {
        Arch.X86_64: "488908" + "480500100000" + "ebf5",
        Arch.ARM64: "020000f9" + "00044091" + "feffff17",
    }[arch]
    machine.place(base, bytes.fromhex(code), READ | EXECUTE)
    machine.engine.set_register(register, NOWHERE[arch])
    machine.engine.map(0x10000, machine.engine.memory_limit - machine.engine.mapped - 0x8000, WRITE)
    with pytest.raises(GuestFault, match="writes unmapped memory"):
        machine.run(base, base + 0x800, 1000, demand=True)
    assert len(machine.engine.demanded) == 8
    with pytest.raises(InputError, match="the guest may have"):
        machine.engine.map(NOWHERE[arch] - 0x100000, 0x1000, WRITE)
