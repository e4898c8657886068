"""Random valid eBPF instructions, encoded here from RFC 9669 and the kernel's additions."""

from __future__ import annotations

import random
import struct

ALU = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
IMMEDIATES = (0, 1, -1, 8, 0x7FFFFFFF, -0x80000000, 0x12345678)
OFFSETS = (0, 1, -1, 8, -8, 32767, -32768)
ATOMICS = (0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1)
HELPERS = (1, 5, 14, 211, 4000)


def pack(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst | src << 4, offset, imm)


def random_instruction(rng: random.Random) -> bytes:
    """One instruction: 8 bytes, or 16 for a 64-bit immediate load."""
    dst, src = rng.randrange(11), rng.randrange(11)
    imm, offset = rng.choice(IMMEDIATES), rng.choice(OFFSETS)
    cls = rng.choice((4, 7))
    size = rng.choice((0x00, 0x08, 0x10, 0x18))
    narrow = rng.choice((0x00, 0x08, 0x10))
    signed = rng.choice((0, 1))
    forms = (
        lambda: pack(cls | rng.choice(ALU), dst, imm=imm),
        lambda: pack(cls | rng.choice(ALU) | 8, dst, src),
        lambda: pack(cls | rng.choice((0x30, 0x90)), dst, 0, signed, imm),
        lambda: pack(cls | rng.choice((0x30, 0x90)) | 8, dst, src, signed),
        lambda: pack(cls | 0xB8, dst, src, rng.choice((8, 16) if cls == 4 else (8, 16, 32))),
        lambda: pack(cls | 0x80, dst),
        lambda: pack(rng.choice((0xD4, 0xDC, 0xD7)), dst, imm=rng.choice((16, 32, 64))),
        lambda: pack(0xBF, dst, src, 1, rng.choice((1, 1 << 16))),
        lambda: pack(0xBF, dst, src, -1),
        lambda: pack(rng.choice((0x61, 0x01 | 0x20, 0x01 | 0xA0)) | size, dst, src, offset),
        lambda: pack(rng.choice((0x81, 0x41, 0xC1)) | narrow, dst, src, offset),
        lambda: pack(rng.choice((0x62, 0xA2)) | size, dst, 0, offset, imm),
        lambda: pack(rng.choice((0x63, 0xA3)) | size, dst, src, offset),
        lambda: pack(rng.choice((0xC3, 0xDB, 0xE3, 0xFB)), dst, src, offset, rng.choice(ATOMICS)),
        lambda: pack(rng.choice((0xC3, 0xE3)) | size, dst, src, offset, 0x100 | signed << 4),
        lambda: pack(rng.choice((0x20, 0x40)) | narrow, 0, 0, 0, imm),
        lambda: pack(0x40 | narrow, 0, src, 0, imm),
        lambda: pack(rng.choice((5, 6)) | rng.choice(JUMPS), dst, 0, offset, imm),
        lambda: pack(rng.choice((5, 6)) | rng.choice(JUMPS) | 8, dst, src, offset),
        lambda: pack(rng.choice((0x05, 0xE5)), offset=offset),
        lambda: pack(rng.choice((0x06, 0xF5)), imm=imm),
        lambda: pack(0x85, imm=rng.choice(HELPERS)),
        lambda: pack(0x85, 0, 1, 0, imm),
        lambda: pack(0x85, 0, 2, rng.choice((0, 1)), imm),
        lambda: pack(rng.choice((0x8D, 0x0D)), dst),
        lambda: pack(rng.choice((0x95, 0xC2))),
        lambda: pack(0x18, dst, 0, 0, imm) + pack(0, imm=rng.choice(IMMEDIATES)),
        lambda: pack(0x18, dst, rng.choice((1, 4, 5)), 0, imm) + pack(0),
        lambda: pack(0x18, dst, rng.choice((2, 3, 6)), 0, imm) + pack(0, imm=rng.choice(OFFSETS)),
    )  # fmt: skip
    return rng.choice(forms)()
