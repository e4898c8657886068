"""Stubs that time guest code on the host CPU: enter it, leave it, count ticks between.

A stub is called as a C function without arguments and returns the ticks of the host's time
stamp counter that the code took. It saves what a C function must preserve, fills the
registers, jumps to the code, and gets control back at the code's end, where a jump to
`leave` has been put.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from tramposim._native import arm64_asm, x86_64_asm
from tramposim.spec import Arch

__all__ = ["SAVE_AREA", "Stub", "build_stub", "jump_to", "user_mode_code"]

SAVE_AREA = 64
"""Bytes of writable memory that a stub needs: stack pointer, time stamp, per-CPU base, rounds."""

_X86_64 = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_NOPS = {"cli": b"\x90", "sti": b"\x90", "stac": b"\x0f\x1f\x00", "clac": b"\x0f\x1f\x00"}
"""Instructions of the kernel that a process may not execute, and what stands in for them."""

_ISB, _NOP = 0xD5033FDF, 0xD503201F


@dataclass(frozen=True, slots=True)
class Stub:
    """Machine code to be placed at `address`; `leave` is where the timed code must jump."""

    address: int
    code: bytes
    leave: int


def build_stub(
    arch: Arch,
    address: int,
    save: int,
    begin: int,
    registers: Mapping[str, int],
    rounds: int = 1,
) -> Stub:
    """A stub at `address` that enters code at `begin`, with `registers` filled, `rounds` times.

    `save` is the address of `SAVE_AREA` writable bytes, in the lowest 2 GiB for x86_64. A
    register `tpidr_el0` is what arm64 code finds its per-CPU data by.
    """
    if arch is Arch.X86_64:
        return _x86_64(address, save, begin, registers, rounds)
    return _arm64(address, save, begin, registers, rounds)


def jump_to(arch: Arch, address: int, target: int) -> bytes:
    """A jump at `address`, in reach of `target`."""
    if arch is Arch.X86_64:
        return bytes(x86_64_asm.ISA.encode_one("jmp", target, address=address))
    return bytes(arm64_asm.ISA.encode_one("b", target, address=address))


def _x86_64(address: int, save: int, begin: int, registers: Mapping[str, int], rounds: int) -> Stub:
    r11_save = b"\x49\xbb" + struct.pack("<Q", save)
    # lfence waits for everything older and lets nothing younger start (Intel SDM, RDTSC).
    stamp = bytes.fromhex("0faee8 0f31 0faee8 48c1e220 4809d0")
    code = bytes.fromhex("53 55 4154 4155 4156 4157 9c") + r11_save
    # mov [r11], rsp; mov qword [r11 + 24], rounds
    code += bytes.fromhex("498923 49c74318") + struct.pack("<i", rounds)
    code += stamp + bytes.fromhex("49894308")
    fill = len(code)
    for number, name in enumerate(_X86_64):
        if name in registers:
            code += bytes([0x49 if number > 7 else 0x48, 0xB8 | number & 7])
            code += struct.pack("<Q", registers[name])
    code += jump_to(Arch.X86_64, address + len(code), begin)
    leave = address + len(code)
    if rounds > 1:
        # dec dword [save + 24]: no register is free, and all are filled again.
        code += bytes.fromhex("ff0c25") + struct.pack("<i", save + 24)
        code += bytes(
            x86_64_asm.ISA.encode_one("jcc", 5, address + fill, address=address + len(code))
        )
    code += stamp + r11_save + bytes.fromhex("492b4308 498b23 9d 415f 415e 415d 415c 5d 5b c3")
    return Stub(address, code, leave)


def _arm64(address: int, save: int, begin: int, registers: Mapping[str, int], rounds: int) -> Stub:
    encode = arm64_asm.ISA.encode_one

    def constant(register: int, value: int) -> bytes:
        return b"".join(
            struct.pack("<I", word | (value >> 16 * part & 0xFFFF) << 5 | register)
            for part, word in enumerate((0xD2800000, 0xF2A00000, 0xF2C00000, 0xF2E00000))
        )

    def words(*values: int) -> bytes:
        return struct.pack(f"<{len(values)}I", *values)

    pairs = [(19 + 2 * n, 20 + 2 * n) for n in range(6)]
    pushed = [0xA9800000 | (-16 // 8 & 0x7F) << 15 | b << 10 | 31 << 5 | a for a, b in pairs]
    popped = [0xA8C00000 | 16 // 8 << 15 | b << 10 | 31 << 5 | a for a, b in reversed(pairs)]
    code = words(*pushed) + constant(16, save)
    # str sp and the thread pointer, take the time: [x16], [x16, #16], [x16, #8].
    code += words(0x910003F1, 0xF9000211, 0xD53BD051, 0xF9000A11)
    code += constant(17, rounds) + words(0xF9000E11)  # str x17, [x16, #24]
    code += words(_ISB, 0xD53BE051, _ISB, 0xF9000611)
    fill = len(code)
    for name, value in registers.items():
        if name == "tpidr_el0":
            code += constant(17, value) + words(0xD51BD051)
        elif name == "sp":
            code += constant(17, value) + words(0x9100023F)
    for name, value in registers.items():
        if name.startswith("x") and name != "x30":
            code += constant(int(name[1:]), value)
    code += bytes(encode("b", begin, address=address + len(code)))
    leave = address + len(code)
    if rounds > 1:
        # ldr x17, [x16, #24]; sub x17, x17, #1; str x17, [x16, #24]; cbnz x17, fill
        code += constant(16, save) + words(0xF9400E11, 0xD1000631, 0xF9000E11)
        code += words(0xB5000011 | (fill - len(code) >> 2 & 0x7FFFF) << 5)
    code += words(_ISB, 0xD53BE040, _ISB) + constant(16, save)
    # ldr x17, [x16, #8]; sub x0, x0, x17; the thread pointer; the stack pointer.
    code += words(0xF9400611, 0xCB110000, 0xF9400A11, 0xD51BD051, 0xF9400211, 0x9100023F)
    code += words(*popped, 0xD65F03C0)
    return Stub(address, code, leave)


def user_mode_code(
    arch: Arch, code: bytes, address: int, literal: int | None = None
) -> tuple[bytes, bool]:
    """Kernel code with what only the kernel may execute replaced, and whether `literal` is used.

    x86_64: switching interrupts and user access off and on becomes nops. arm64: the mask of
    interrupts reads as zero and is not written, per-CPU data is found by tpidr_el0, and the
    current task is loaded from the 8 bytes at `literal` (in reach of a load, 1 MiB).
    """
    if arch is Arch.X86_64:
        return _x86_64_user(code, address), False
    return _arm64_user(code, address, literal)


def _x86_64_user(code: bytes, address: int) -> bytes:
    from tramposim.machine.disassembly import disassemble

    if not any(word in code for word in (b"\xfa", b"\xfb", b"\x0f\x01\xca", b"\x0f\x01\xcb")):
        return code
    result = bytearray(code)
    for instruction in disassemble(Arch.X86_64, code, address):
        nop = _NOPS.get(instruction.mnemonic)
        if nop is not None:
            at = instruction.address - address
            result[at : at + len(nop)] = nop
    return bytes(result)


def _arm64_user(code: bytes, address: int, literal: int | None) -> tuple[bytes, bool]:
    words = list(struct.unpack(f"<{len(code) // 4}I", code[: len(code) & ~3]))
    used = False
    for index, word in enumerate(words):
        register = word & 31
        if word & 0xFFFFF0DF == 0xD50340DF or word & 0xFFFFFFE0 == 0xD51B4220:
            words[index] = _NOP  # msr daifset, msr daifclr, msr daif
        elif word & 0xFFFFFFE0 == 0xD53B4220:
            words[index] = 0xD2800000 | register  # mrs daif
        elif word & 0xFFFFFFE0 == 0xD538D080:
            words[index] = 0xD53BD040 | register  # mrs tpidr_el1
        elif word & 0xFFFFFFE0 == 0xD5384100 and literal is not None:
            distance = literal - (address + 4 * index)
            words[index] = 0x58000000 | (distance >> 2 & 0x7FFFF) << 5 | register  # mrs sp_el0
            used = True
    return struct.pack(f"<{len(words)}I", *words) + code[len(code) & ~3 :], used
