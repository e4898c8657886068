"""eBPF instructions: the 8-byte encoding of RFC 9669 and the names of its fields.

An instruction is `opcode:8 dst:4 src:4 offset:16 imm:32`, little endian. A 64-bit
immediate load takes two: the second carries the upper 32 bits in its imm and is zero
elsewhere. Opcodes that only the kernel's verifier produces (PROBE_MEM loads, tail calls
proper) are named here too, because post-verifier programs contain them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from tramposim.errors import InputError

__all__ = [
    "ALU",
    "ALU64",
    "ALU_NAMES",
    "ALU_OPS",
    "ATOMIC_NAMES",
    "ATOMIC_OPS",
    "JMP",
    "JMP32",
    "JMP_NAMES",
    "JMP_OPS",
    "LD",
    "LDX",
    "SIZES",
    "ST",
    "STX",
    "Insn",
    "Pseudo",
    "Reg",
    "decode",
    "encode",
    "load_imm64",
]

LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)

K, X = 0x00, 0x08

ADD, SUB, MUL, DIV, OR, AND, LSH, RSH = (code << 4 for code in range(8))
NEG, MOD, XOR, MOV, ARSH, END = (code << 4 for code in range(8, 14))

JA, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE = (code << 4 for code in range(8))
CALL, EXIT, JLT, JLE, JSLT, JSLE, JCOND, TAIL_CALL = (code << 4 for code in range(8, 16))

IMM, ABS, IND, MEM, MEMSX = 0x00, 0x20, 0x40, 0x60, 0x80
PROBE_MEM, PROBE_MEMSX, ATOMIC = 0x20, 0x40, 0xC0
PROBE_MEM32, PROBE_ATOMIC, PROBE_MEM32SX = 0xA0, 0xE0, 0xC0

W, H, B, DW = 0x00, 0x08, 0x10, 0x18
SIZES = {B: 1, H: 2, W: 4, DW: 8}
"""Bytes of a memory access by the size bits of its opcode."""

ALU_OPS = {
    ADD: "+=",
    SUB: "-=",
    MUL: "*=",
    DIV: "/=",
    OR: "|=",
    AND: "&=",
    LSH: "<<=",
    RSH: ">>=",
    MOD: "%=",
    XOR: "^=",
    MOV: "=",
    ARSH: "s>>=",
}
"""Assignment operator of an arithmetic instruction by its operation bits."""

JMP_OPS = {
    JEQ: "==",
    JGT: ">",
    JGE: ">=",
    JSET: "&",
    JNE: "!=",
    JSGT: "s>",
    JSGE: "s>=",
    JLT: "<",
    JLE: "<=",
    JSLT: "s<",
    JSLE: "s<=",
}
"""Comparison operator of a conditional jump by its operation bits."""

ALU_NAMES = {
    ADD: "add",
    SUB: "sub",
    MUL: "mul",
    DIV: "div",
    OR: "or",
    AND: "and",
    LSH: "lsh",
    RSH: "rsh",
    MOD: "mod",
    XOR: "xor",
    MOV: "mov",
    ARSH: "arsh",
}
"""Mnemonic of a two-operand arithmetic instruction by its operation bits."""

JMP_NAMES = {
    JEQ: "jeq",
    JGT: "jgt",
    JGE: "jge",
    JSET: "jset",
    JNE: "jne",
    JSGT: "jsgt",
    JSGE: "jsge",
    JLT: "jlt",
    JLE: "jle",
    JSLT: "jslt",
    JSLE: "jsle",
}
"""Mnemonic of a conditional jump by its operation bits."""

FETCH, XCHG, CMPXCHG = 0x01, 0xE1, 0xF1
LOAD_ACQ, STORE_REL = 0x100, 0x110

ATOMIC_OPS = {ADD: "+=", OR: "|=", AND: "&=", XOR: "^="}
"""Assignment operator of an atomic update by its immediate (without `FETCH`)."""
ATOMIC_NAMES = {ADD: "add", OR: "or", AND: "and", XOR: "xor"}
"""Name of an atomic update by its immediate (without `FETCH`)."""

LD_IMM64 = LD | DW | IMM
MAY_GOTO = JMP | JCOND
ADDR_SPACE_CAST = 1
"""Offset of a 64-bit register move that casts between arena address spaces."""
PERCPU_MOV = -1
"""Offset of a 64-bit register move that adds this CPU's per-CPU offset."""


class Reg:
    """Register numbers; AX is the verifier's own scratch register."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FP = range(11)
    AX = 12


class Pseudo:
    """Source register of a 64-bit immediate load or a call: what its immediate means."""

    MAP_FD, MAP_VALUE, BTF_ID, FUNC, MAP_IDX, MAP_IDX_VALUE = range(1, 7)
    CALL, KFUNC = 1, 2


_LAYOUT = struct.Struct("<BBhi")


@dataclass(frozen=True, slots=True)
class Insn:
    """One 8-byte instruction slot; `offset` and `imm` are signed."""

    opcode: int
    dst: int = 0
    src: int = 0
    offset: int = 0
    imm: int = 0

    def __bytes__(self) -> bytes:
        return _LAYOUT.pack(self.opcode, self.dst | self.src << 4, self.offset, self.imm)

    @property
    def cls(self) -> int:
        """Instruction class (`LD` to `ALU64`)."""
        return self.opcode & 0x07

    @property
    def op(self) -> int:
        """Operation bits of an arithmetic or jump instruction."""
        return self.opcode & 0xF0

    @property
    def mode(self) -> int:
        """Mode bits of a load or store."""
        return self.opcode & 0xE0

    @property
    def size(self) -> int:
        """Bytes accessed by a load or store."""
        return SIZES[self.opcode & 0x18]

    @property
    def from_register(self) -> bool:
        """Whether the second operand is a register (else the immediate)."""
        return bool(self.opcode & X)


def decode(code: bytes) -> list[Insn]:
    """Decode a program; both slots of a 64-bit immediate load are returned.

    Raises `InputError` if `code` is not a whole number of instructions, or ends inside a
    64-bit immediate load.
    """
    if len(code) % 8:
        raise InputError(f"{len(code)} bytes of eBPF; instructions are 8 bytes each")
    insns = [
        Insn(opcode, regs & 15, regs >> 4, offset, imm)
        for opcode, regs, offset, imm in _LAYOUT.iter_unpack(code)
    ]
    index = 0
    while index < len(insns):
        if insns[index].opcode == LD_IMM64:
            index += 1
            if index == len(insns):
                raise InputError("the program ends inside a 64-bit immediate load")
        index += 1
    return insns


def encode(insns: Iterable[Insn]) -> bytes:
    """Encode instructions to bytes."""
    return b"".join(map(bytes, insns))


def load_imm64(dst: int, src: int, value: int) -> tuple[Insn, Insn]:
    """The two slots of a 64-bit immediate load (`value` modulo 2**64)."""
    low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
    first = low - (1 << 32) if low >= 1 << 31 else low
    second = high - (1 << 32) if high >= 1 << 31 else high
    return Insn(LD_IMM64, dst, src, 0, first), Insn(0, imm=second)
