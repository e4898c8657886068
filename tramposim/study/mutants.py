"""Mutants: machine code with one instruction changed, as an error in a JIT would change it.

Kinds: `register`, `immediate`, `displacement`, `condition`, `opcode` change a field of one
instruction, `drop` makes it a nop, `swap` exchanges it with the next one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tramposim.spec import Arch

__all__ = ["KINDS", "Decoded", "Mutant", "decode_code", "mutants_of"]

KINDS = ("register", "immediate", "displacement", "condition", "opcode", "drop", "swap")
"""Kinds of mutants."""

_ARM64_NOP = 0xD503201F


@dataclass(frozen=True, slots=True)
class Mutant:
    """Bytes `old` at `offset` of the code become `new`: a change of `kind`."""

    kind: str
    offset: int
    old: bytes
    new: bytes

    def apply(self, code: bytes) -> bytes:
        """The mutated code."""
        return code[: self.offset] + self.new + code[self.offset + len(self.new) :]


@dataclass(frozen=True)
class Decoded:
    """An instruction at an offset, as capstone knows it (with operands)."""

    offset: int
    code: bytes
    insn: Any


@cache
def _decoder(arch: Arch) -> Any:
    import capstone

    if arch is Arch.X86_64:
        decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    else:
        decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)  # type: ignore[no-untyped-call]
    decoder.detail = True
    return decoder


def decode_code(arch: Arch, code: bytes, address: int) -> list[Decoded]:
    """The instructions of code, in order; bytes that are none are passed over."""
    decoded, offset = [], 0
    while offset < len(code):
        for insn in _decoder(arch).disasm(code[offset:], address + offset):
            decoded.append(Decoded(insn.address - address, bytes(insn.bytes), insn))
            offset += insn.size
        offset += 1 if arch is Arch.X86_64 else 4
    return decoded


def mutants_of(
    arch: Arch, code: bytes, address: int, rng: random.Random, decoded: list[Decoded] | None = None
) -> Iterator[Mutant]:
    """Some mutants of every instruction: each kind that applies to it, once."""
    decoded = decode_code(arch, code, address) if decoded is None else decoded
    change = _x86_64 if arch is Arch.X86_64 else _arm64
    for number, one in enumerate(decoded):
        seen = {one.code}
        for kind, new in change(one, rng):
            if new not in seen:
                seen.add(new)
                yield Mutant(kind, one.offset, one.code, new)
        if number + 1 < len(decoded):
            other = decoded[number + 1]
            movable = not _relative(arch, one) and not _relative(arch, other)
            if movable and other.offset == one.offset + len(one.code) and one.code != other.code:
                yield Mutant("swap", one.offset, one.code + other.code, other.code + one.code)


def _relative(arch: Arch, one: Decoded) -> bool:
    """Whether an instruction's meaning depends on where it stands."""
    if arch is Arch.ARM64:
        word = int.from_bytes(one.code, "little")
        return _branch_fields(word) is not None or word & 0x1F000000 == 0x10000000
    name = one.insn.mnemonic.split()[-1]
    return name.startswith(("j", "call", "loop")) or "rip" in one.insn.op_str


def _x86_64(one: Decoded, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    code, insn = one.code, one.insn
    encoding = insn.encoding
    opcode_at = _opcode_at(code)
    opcode = code[opcode_at]
    two = opcode == 0x0F
    if two:
        opcode_at += 1
        opcode = code[opcode_at]
    name = insn.mnemonic

    def patched(at: int, value: int) -> bytes:
        return code[:at] + bytes([value & 0xFF]) + code[at + 1 :]

    if encoding.modrm_offset and name not in ("nop", "endbr64"):
        modrm = code[encoding.modrm_offset]
        fields = [3]
        if modrm >> 6 == 3:
            fields = [3, 0] if opcode not in (0x81, 0x83, 0xC1, 0xD1, 0xF7, 0xFF) else [0]
        elif opcode in (0x81, 0x83, 0xC1, 0xD1, 0xF7, 0xFF, 0xC7, 0xC6):
            fields = []
        for shift in fields:
            yield "register", patched(encoding.modrm_offset, modrm ^ rng.randrange(1, 8) << shift)
        if modrm >> 6 != 3 and modrm & 7 not in (4, 5):
            yield "register", patched(encoding.modrm_offset, modrm ^ rng.choice((1, 2, 3)))
    elif not two and (0x50 <= opcode < 0x60 or 0xB8 <= opcode < 0xC0):
        yield "register", patched(opcode_at, opcode ^ rng.randrange(1, 8))
    if encoding.disp_offset and name not in ("nop",):
        step = rng.choice((1, 4, 8, 16, 0x80, 0xF8))
        yield (
            "displacement",
            patched(encoding.disp_offset, code[encoding.disp_offset] + step),
        )
    if encoding.imm_offset:
        at = encoding.imm_offset + rng.randrange(max(1, encoding.imm_size))
        kind = "displacement" if _relative(Arch.X86_64, one) else "immediate"
        yield kind, patched(at, code[at] ^ 1 << rng.randrange(8))
    if name.startswith("j") and name != "jmp":
        yield "condition", patched(opcode_at, opcode ^ 1)
        yield "condition", patched(opcode_at, opcode ^ rng.choice((2, 4, 6, 8, 10, 12, 14)))
    elif name.startswith(("cmov", "set")):
        yield "condition", patched(opcode_at, opcode ^ 1)
    for new in _X86_OPCODES.get((two, opcode), ()):
        yield "opcode", patched(opcode_at, new)
    if opcode in (0x81, 0x83, 0xC1, 0xD1, 0xF7) and encoding.modrm_offset and not two:
        modrm = code[encoding.modrm_offset]
        yield "opcode", patched(encoding.modrm_offset, modrm ^ rng.choice((1, 4, 5)) << 3)
    if opcode_at and 0x48 <= code[opcode_at - 1 - two] < 0x50:
        at = opcode_at - 1 - two
        yield "opcode", patched(at, code[at] ^ 8)
    if name not in ("nop", "int3"):
        yield "drop", b"\x90" * len(code)


_X86_OPCODES: dict[tuple[bool, int], tuple[int, ...]] = {
    (False, 0x01): (0x29, 0x09),
    (False, 0x29): (0x01, 0x31),
    (False, 0x31): (0x09, 0x21),
    (False, 0x09): (0x21, 0x31),
    (False, 0x21): (0x09, 0x85),
    (False, 0x85): (0x39, 0x21),
    (False, 0x39): (0x85, 0x3B),
    (False, 0x3B): (0x39,),
    (False, 0x89): (0x8B, 0x88),
    (False, 0x8B): (0x89, 0x8D),
    (False, 0x8D): (0x8B,),
    (False, 0xC7): (0xC6,),
    (False, 0xEB): (0x74,),
    (True, 0xB6): (0xB7, 0xBE),
    (True, 0xB7): (0xB6, 0xBF),
    (True, 0xBE): (0xBF, 0xB6),
    (True, 0xBF): (0xBE, 0xB7),
    (True, 0xC1): (0xB1,),
}
"""Opcodes that a slip of the JIT's author could emit instead, of the same length."""


def _opcode_at(code: bytes) -> int:
    at = 0
    while at < len(code) - 1 and code[at] in (0x65, 0x66, 0x2E, 0x3E, 0xF0, 0xF2, 0xF3):
        at += 1
    if at < len(code) - 1 and 0x40 <= code[at] < 0x50:
        at += 1
    return at


def _branch_fields(word: int) -> tuple[int, int] | None:
    """(shift, width) of the offset of a relative branch."""
    if word & 0x7C000000 == 0x14000000:
        return 0, 26
    if word & 0xFF000010 == 0x54000000 or word & 0x7E000000 == 0x34000000:
        return 5, 19
    if word & 0x7E000000 == 0x36000000:
        return 5, 14
    return None


def _arm64(one: Decoded, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    word = int.from_bytes(one.code, "little")

    def made(value: int) -> bytes:
        return (value & 0xFFFFFFFF).to_bytes(4, "little")

    def flipped(shift: int, width: int) -> bytes:
        return made(word ^ rng.randrange(1, 1 << width) << shift)

    branch = _branch_fields(word)
    if branch is not None:
        shift, width = branch
        yield "displacement", made(word ^ 1 << shift + rng.randrange(width))
        if word & 0xFF000010 == 0x54000000:
            yield "condition", made(word ^ 1)
            yield "condition", flipped(1, 3)
        elif word & 0x7C000000 == 0x34000000:
            yield "condition", made(word ^ 1 << 24)
            yield "register", flipped(0, 5)
            if word & 0x7E000000 == 0x34000000:
                yield "opcode", made(word ^ 1 << 31)
        elif word & 0x7C000000 == 0x14000000:
            yield "opcode", made(word ^ 1 << 31)
    elif word & 0x0A000000 == 0x08000000:
        yield from _arm64_memory(word, flipped, made, rng)
    elif word & 0x1C000000 == 0x10000000 and word & 0x1F800000 != 0x12800000:
        yield from _arm64_immediate(word, flipped, made, rng)
    elif word & 0x1F800000 == 0x12800000:
        yield "register", flipped(0, 5)
        yield "immediate", made(word ^ 1 << 5 + rng.randrange(16))
        opc = word >> 29 & 3
        yield (
            "opcode",
            made(word & ~(3 << 29) | rng.choice([o for o in (0, 2, 3) if o != opc]) << 29),
        )
    elif word & 0x0E000000 == 0x0A000000:
        yield "register", flipped(0, 5)
        yield "register", flipped(5, 5)
        yield "register", flipped(16, 5)
        yield "opcode", made(word ^ rng.choice((1 << 30, 1 << 29, 1 << 31)))
    elif word & 0xFE1FFC1F in (0xD61F0000, 0xD63F0000, 0xD65F0000):
        yield "register", flipped(5, 5)
        yield "opcode", made(word ^ 1 << 21)
    elif word & 0xFFFFF01F == 0xD503201F and word != _ARM64_NOP:
        pass
    elif word & 0xFF000000 == 0xD5000000 and word != _ARM64_NOP:
        yield "register", flipped(0, 5)
    if word != _ARM64_NOP:
        yield "drop", made(_ARM64_NOP)


def _arm64_memory(
    word: int, flipped: Any, made: Any, rng: random.Random
) -> Iterator[tuple[str, bytes]]:
    """Loads and stores."""
    yield "register", flipped(0, 5)
    yield "register", flipped(5, 5)
    if word & 0x3A000000 == 0x28000000:
        yield "register", flipped(10, 5)
        yield "displacement", made(word ^ 1 << 15 + rng.randrange(7))
        yield "opcode", made(word ^ 1 << 22)
    elif word & 0x3B000000 == 0x39000000:
        yield "displacement", made(word ^ 1 << 10 + rng.randrange(12))
        yield "opcode", made(word ^ 1 << 22)
        yield "opcode", made(word ^ 1 << 30)
    elif word & 0x3B200000 == 0x38000000:
        yield "displacement", made(word ^ 1 << 12 + rng.randrange(9))
        yield "opcode", made(word ^ 1 << 22)
    elif word & 0x3B200C00 == 0x38200800:
        yield "register", flipped(16, 5)
        yield "opcode", made(word ^ 1 << 22)
    else:
        yield "register", flipped(16, 5)
        yield "opcode", made(word ^ 1 << 30)


def _arm64_immediate(
    word: int, flipped: Any, made: Any, rng: random.Random
) -> Iterator[tuple[str, bytes]]:
    """Arithmetic, logic and bit fields with an immediate; addresses."""
    yield "register", flipped(0, 5)
    if word & 0x1F000000 == 0x10000000:
        yield "immediate", made(word ^ 1 << 5 + rng.randrange(19))
        yield "opcode", made(word ^ 1 << 31)
        return
    yield "register", flipped(5, 5)
    yield "immediate", made(word ^ 1 << 10 + rng.randrange(12))
    yield "opcode", made(word ^ 1 << 30)
    yield "opcode", made(word ^ 1 << 31)
