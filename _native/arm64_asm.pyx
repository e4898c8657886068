"""The arm64 encoder: one line per operation in `_TABLE` - a base word and its operand fields.

Registers are numbered 0 to 30; 31 is sp or zr as the instruction has it. Offsets are in
bytes, branch targets absolute. A few operations stand for sequences (constants, calls that
may be out of range); they follow the rules that arm64 kernels use, as each says. Encodings:
Arm ARM (DDI 0487).
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from tramposim._native.asmplan cimport (
    ENCODE_RANGE,
    ENCODE_UNKNOWN,
    make_isa,
)

__all__ = ["ISA"]

cdef enum Form:
    WORD        # base word and fields
    MOV_VALUE   # reg, value: shortest movz/movn/movk sequence, 32-bit forms if they do
    MOV_VALUE32 # reg, value: the 32-bit forms
    MOV_VALUE_SX # reg, 32-bit value: the 64-bit forms (the value is sign extended)
    MOV_ADDRESS # reg, address: movn, movk, movk - always three words
    STORE_VALUE # value, scratch, base, offset: a constant through scratch, xzr if 0
    CALL        # target, scratch: bl if it reaches, else MOV_ADDRESS and blr

cdef enum FieldFlag:
    SIGNED = 1
    PCREL = 2
    ADR = 4     # immlo/immhi of adr

cdef struct Field:
    uint8_t lsb
    uint8_t width
    uint8_t scale   # log2 of the unit
    uint8_t flags

cdef struct Definition:
    uint8_t form
    uint8_t count
    uint32_t word
    Field fields[5]

# Operand fields: (lsb, width, log2 of the unit, flags)
RD = RT = (0, 5, 0, 0)
RN = (5, 5, 0, 0)
RM = RS = (16, 5, 0, 0)
RT2 = RA = (10, 5, 0, 0)
IMM12 = (10, 12, 0, 0)
IMM12_2 = (10, 12, 1, 0)
IMM12_4 = (10, 12, 2, 0)
IMM12_8 = (10, 12, 3, 0)
IMM9 = (12, 9, 0, SIGNED)
IMM7_8 = (15, 7, 3, SIGNED)
IMM16 = (5, 16, 0, 0)
HALF = (21, 2, 4, 0)
COND_BR = (0, 4, 0, 0)
TO26 = (0, 26, 2, SIGNED | PCREL)
TO19 = (5, 19, 2, SIGNED | PCREL)
TO_ADR = (0, 21, 0, SIGNED | PCREL | ADR)
IMMR = (16, 6, 0, 0)
IMMS = (10, 6, 0, 0)
IMM6 = (10, 6, 0, 0)
BITMASK = (10, 13, 0, 0)

_TABLE = (
    # name        form         word        operand fields
    ("nop",       WORD,        0xd503201f),
    ("bti_c",     WORD,        0xd503245f),
    ("bti_j",     WORD,        0xd503249f),
    ("bti_jc",    WORD,        0xd50324df),
    ("paciasp",   WORD,        0xd503233f),
    ("autiasp",   WORD,        0xd50323bf),
    ("dmb_ish",   WORD,        0xd5033bbf),
    ("brk",       WORD,        0xd4200000, IMM16),
    ("movz",      WORD,        0xd2800000, RD, IMM16, HALF),
    ("movk",      WORD,        0xf2800000, RD, IMM16, HALF),
    ("movn",      WORD,        0x92800000, RD, IMM16, HALF),
    ("movz32",    WORD,        0x52800000, RD, IMM16, HALF),
    ("movk32",    WORD,        0x72800000, RD, IMM16, HALF),
    ("movn32",    WORD,        0x12800000, RD, IMM16, HALF),
    ("mov",       WORD,        0xaa0003e0, RD, RM),
    ("mov32",     WORD,        0x2a0003e0, RD, RM),
    ("addi",      WORD,        0x91000000, RD, RN, IMM12),
    ("subi",      WORD,        0xd1000000, RD, RN, IMM12),
    ("addsi",     WORD,        0xb1000000, RD, RN, IMM12),
    ("subsi",     WORD,        0xf1000000, RD, RN, IMM12),
    ("addi32",    WORD,        0x11000000, RD, RN, IMM12),
    ("subi32",    WORD,        0x51000000, RD, RN, IMM12),
    ("addsi32",   WORD,        0x31000000, RD, RN, IMM12),
    ("subsi32",   WORD,        0x71000000, RD, RN, IMM12),
    ("addi_lsl12", WORD,       0x91400000, RD, RN, IMM12),
    ("subi_lsl12", WORD,       0xd1400000, RD, RN, IMM12),
    ("addsi_lsl12", WORD,      0xb1400000, RD, RN, IMM12),
    ("subsi_lsl12", WORD,      0xf1400000, RD, RN, IMM12),
    ("addi32_lsl12", WORD,     0x11400000, RD, RN, IMM12),
    ("subi32_lsl12", WORD,     0x51400000, RD, RN, IMM12),
    ("addsi32_lsl12", WORD,    0x31400000, RD, RN, IMM12),
    ("subsi32_lsl12", WORD,    0x71400000, RD, RN, IMM12),
    ("add",       WORD,        0x8b000000, RD, RN, RM),
    ("sub",       WORD,        0xcb000000, RD, RN, RM),
    ("subs",      WORD,        0xeb000000, RD, RN, RM),
    ("and",       WORD,        0x8a000000, RD, RN, RM),
    ("ands",      WORD,        0xea000000, RD, RN, RM),
    ("orr",       WORD,        0xaa000000, RD, RN, RM),
    ("eor",       WORD,        0xca000000, RD, RN, RM),
    ("mvn",       WORD,        0xaa2003e0, RD, RM),
    ("neg",       WORD,        0xcb0003e0, RD, RM),
    ("mul",       WORD,        0x9b007c00, RD, RN, RM),
    ("msub",      WORD,        0x9b008000, RD, RN, RM, RA),
    ("udiv",      WORD,        0x9ac00800, RD, RN, RM),
    ("sdiv",      WORD,        0x9ac00c00, RD, RN, RM),
    ("lslv",      WORD,        0x9ac02000, RD, RN, RM),
    ("lsrv",      WORD,        0x9ac02400, RD, RN, RM),
    ("asrv",      WORD,        0x9ac02800, RD, RN, RM),
    ("add32",     WORD,        0x0b000000, RD, RN, RM),
    ("sub32",     WORD,        0x4b000000, RD, RN, RM),
    ("subs32",    WORD,        0x6b000000, RD, RN, RM),
    ("and32",     WORD,        0x0a000000, RD, RN, RM),
    ("ands32",    WORD,        0x6a000000, RD, RN, RM),
    ("orr32",     WORD,        0x2a000000, RD, RN, RM),
    ("eor32",     WORD,        0x4a000000, RD, RN, RM),
    ("mvn32",     WORD,        0x2a2003e0, RD, RM),
    ("neg32",     WORD,        0x4b0003e0, RD, RM),
    ("mul32",     WORD,        0x1b007c00, RD, RN, RM),
    ("msub32",    WORD,        0x1b008000, RD, RN, RM, RA),
    ("udiv32",    WORD,        0x1ac00800, RD, RN, RM),
    ("sdiv32",    WORD,        0x1ac00c00, RD, RN, RM),
    ("lslv32",    WORD,        0x1ac02000, RD, RN, RM),
    ("lsrv32",    WORD,        0x1ac02400, RD, RN, RM),
    ("asrv32",    WORD,        0x1ac02800, RD, RN, RM),
    ("ubfm",      WORD,        0xd3400000, RD, RN, IMMR, IMMS),
    ("sbfm",      WORD,        0x93400000, RD, RN, IMMR, IMMS),
    ("ubfm32",    WORD,        0x53000000, RD, RN, IMMR, IMMS),
    ("sbfm32",    WORD,        0x13000000, RD, RN, IMMR, IMMS),
    ("andi",      WORD,        0x92000000, RD, RN, BITMASK),
    ("andsi",     WORD,        0xf2000000, RD, RN, BITMASK),
    ("orri",      WORD,        0xb2000000, RD, RN, BITMASK),
    ("eori",      WORD,        0xd2000000, RD, RN, BITMASK),
    ("andi32",    WORD,        0x12000000, RD, RN, BITMASK),
    ("andsi32",   WORD,        0x72000000, RD, RN, BITMASK),
    ("orri32",    WORD,        0x32000000, RD, RN, BITMASK),
    ("eori32",    WORD,        0x52000000, RD, RN, BITMASK),
    ("rev16",     WORD,        0xdac00400, RD, RN),
    ("rev32",     WORD,        0xdac00800, RD, RN),
    ("rev",       WORD,        0xdac00c00, RD, RN),
    ("rev16_32",  WORD,        0x5ac00400, RD, RN),
    ("rev32_32",  WORD,        0x5ac00800, RD, RN),
    ("ldr",       WORD,        0xf9400000, RT, RN, IMM12_8),
    ("ldr32",     WORD,        0xb9400000, RT, RN, IMM12_4),
    ("ldrh",      WORD,        0x79400000, RT, RN, IMM12_2),
    ("ldrb",      WORD,        0x39400000, RT, RN, IMM12),
    ("ldrsw",     WORD,        0xb9800000, RT, RN, IMM12_4),
    ("ldrsh",     WORD,        0x79800000, RT, RN, IMM12_2),
    ("ldrsb",     WORD,        0x39800000, RT, RN, IMM12),
    ("str",       WORD,        0xf9000000, RT, RN, IMM12_8),
    ("str32",     WORD,        0xb9000000, RT, RN, IMM12_4),
    ("strh",      WORD,        0x79000000, RT, RN, IMM12_2),
    ("strb",      WORD,        0x39000000, RT, RN, IMM12),
    ("ldr_reg",   WORD,        0xf8606800, RT, RN, RM),
    ("ldr32_reg", WORD,        0xb8606800, RT, RN, RM),
    ("ldrh_reg",  WORD,        0x78606800, RT, RN, RM),
    ("ldrb_reg",  WORD,        0x38606800, RT, RN, RM),
    ("ldrsw_reg", WORD,        0xb8a0e800, RT, RN, RM),
    ("ldrsh_reg", WORD,        0x78a0e800, RT, RN, RM),
    ("ldrsb_reg", WORD,        0x38a0e800, RT, RN, RM),
    ("str_reg",   WORD,        0xf8206800, RT, RN, RM),
    ("str32_reg", WORD,        0xb8206800, RT, RN, RM),
    ("strh_reg",  WORD,        0x78206800, RT, RN, RM),
    ("strb_reg",  WORD,        0x38206800, RT, RN, RM),
    ("ldr_lit",   WORD,        0x58000000, RT, TO19),
    ("ldp",       WORD,        0xa9400000, RT, RT2, RN, IMM7_8),
    ("stp",       WORD,        0xa9000000, RT, RT2, RN, IMM7_8),
    ("ldp_post",  WORD,        0xa8c00000, RT, RT2, RN, IMM7_8),
    ("stp_pre",   WORD,        0xa9800000, RT, RT2, RN, IMM7_8),
    ("ldr_post",  WORD,        0xf8400400, RT, RN, IMM9),
    ("str_pre",   WORD,        0xf8000c00, RT, RN, IMM9),
    ("ldur",      WORD,        0xf8400000, RT, RN, IMM9),
    ("stur",      WORD,        0xf8000000, RT, RN, IMM9),
    ("ldar",      WORD,        0xc8dffc00, RT, RN),
    ("ldar32",    WORD,        0x88dffc00, RT, RN),
    ("ldarh",     WORD,        0x48dffc00, RT, RN),
    ("ldarb",     WORD,        0x08dffc00, RT, RN),
    ("stlr",      WORD,        0xc89ffc00, RT, RN),
    ("stlr32",    WORD,        0x889ffc00, RT, RN),
    ("stlrh",     WORD,        0x489ffc00, RT, RN),
    ("stlrb",     WORD,        0x089ffc00, RT, RN),
    ("ldxr",      WORD,        0xc85f7c00, RT, RN),
    ("ldxr32",    WORD,        0x885f7c00, RT, RN),
    ("stxr",      WORD,        0xc8007c00, RS, RT, RN),
    ("stxr32",    WORD,        0x88007c00, RS, RT, RN),
    ("stlxr",     WORD,        0xc800fc00, RS, RT, RN),
    ("stlxr32",   WORD,        0x8800fc00, RS, RT, RN),
    ("stadd",     WORD,        0xf820001f, RS, RN),
    ("stclr",     WORD,        0xf820101f, RS, RN),
    ("steor",     WORD,        0xf820201f, RS, RN),
    ("stset",     WORD,        0xf820301f, RS, RN),
    ("stadd32",   WORD,        0xb820001f, RS, RN),
    ("stclr32",   WORD,        0xb820101f, RS, RN),
    ("steor32",   WORD,        0xb820201f, RS, RN),
    ("stset32",   WORD,        0xb820301f, RS, RN),
    ("ldaddal",   WORD,        0xf8e00000, RS, RT, RN),
    ("ldclral",   WORD,        0xf8e01000, RS, RT, RN),
    ("ldeoral",   WORD,        0xf8e02000, RS, RT, RN),
    ("ldsetal",   WORD,        0xf8e03000, RS, RT, RN),
    ("swpal",     WORD,        0xf8e08000, RS, RT, RN),
    ("casal",     WORD,        0xc8e0fc00, RS, RT, RN),
    ("ldaddal32", WORD,        0xb8e00000, RS, RT, RN),
    ("ldclral32", WORD,        0xb8e01000, RS, RT, RN),
    ("ldeoral32", WORD,        0xb8e02000, RS, RT, RN),
    ("ldsetal32", WORD,        0xb8e03000, RS, RT, RN),
    ("swpal32",   WORD,        0xb8e08000, RS, RT, RN),
    ("casal32",   WORD,        0x88e0fc00, RS, RT, RN),
    ("mrs_tpidr_el1", WORD,    0xd538d080, RT),
    ("mrs_sp_el0", WORD,       0xd5384100, RT),
    ("adr",       WORD,        0x10000000, RD, TO_ADR),
    ("b",         WORD,        0x14000000, TO26),
    ("bl",        WORD,        0x94000000, TO26),
    ("bcond",     WORD,        0x54000000, COND_BR, TO19),
    ("cbz",       WORD,        0xb4000000, RT, TO19),
    ("cbnz",      WORD,        0xb5000000, RT, TO19),
    ("cbz32",     WORD,        0x34000000, RT, TO19),
    ("cbnz32",    WORD,        0x35000000, RT, TO19),
    ("br",        WORD,        0xd61f0000, RN),
    ("blr",       WORD,        0xd63f0000, RN),
    ("ret",       WORD,        0xd65f0000, RN),
    ("movi",      MOV_VALUE,   0,          RD, RD),
    ("movi32",    MOV_VALUE32, 0,          RD, RD),
    ("movi_sx",   MOV_VALUE_SX, 0,         RD, RD),
    ("mov_addr",  MOV_ADDRESS, 0,          RD, RD),
    ("store_imm", STORE_VALUE, 0,          RD, RD, RD, RD),
    ("call",      CALL,        0,          RD, RD),
)

cdef enum:
    MAX_DEFINITIONS = 512

cdef Definition definitions[MAX_DEFINITIONS]
cdef int definition_count = 0


cdef inline uint8_t *put(uint8_t *out, uint32_t word) noexcept nogil:
    memcpy(out, &word, 4)
    return out + 4


cdef void fill_nops(uint8_t *out, int count) noexcept nogil:
    cdef int i
    for i in range(0, count - 3, 4):
        put(out + i, 0xd503201f)


cdef inline uint8_t *put_move(
        uint8_t *out, uint32_t base, int reg, uint32_t imm16, int half) noexcept nogil:
    return put(out, base | <uint32_t>half << 21 | (imm16 & 0xffff) << 5 | <uint32_t>reg)


cdef uint8_t *put_value32(uint8_t *out, int reg, uint32_t value, uint32_t wide) noexcept nogil:
    """A 32-bit constant: movn forms when bit 31 is set; `wide` is the 64-bit form's bit."""
    cdef uint32_t high = value >> 16, low = value & 0xffff
    if not high & 0x8000:
        out = put_move(out, 0x52800000 | wide, reg, low, 0)
        return put_move(out, 0x72800000 | wide, reg, high, 1) if high else out
    if high == 0xffff:
        return put_move(out, 0x12800000 | wide, reg, ~low, 0)
    out = put_move(out, 0x12800000 | wide, reg, ~high, 1)
    return put_move(out, 0x72800000 | wide, reg, low, 0) if low != 0xffff else out


cdef uint8_t *put_value(uint8_t *out, int reg, uint64_t value) noexcept nogil:
    """A 64-bit constant, from the highest block down, skipping blocks that the first
    instruction (movn if more blocks are all ones than zero) has set already."""
    cdef int half, ones = 0, zeros = 0
    cdef uint32_t block, neutral
    cdef bint first = True
    if value >> 32 == 0:
        return put_value32(out, reg, <uint32_t>value, 0)
    for half in range(4):
        block = (value >> (16 * half)) & 0xffff
        ones += block == 0xffff
        zeros += block == 0
    neutral = 0xffff if ones > zeros else 0
    for half in range(3, -1, -1):
        block = (value >> (16 * half)) & 0xffff
        if block == neutral and not (first and half == 0):
            continue
        if not first:
            out = put_move(out, 0xf2800000, reg, block, half)
        elif neutral:
            out = put_move(out, 0x92800000, reg, ~block, half)
        else:
            out = put_move(out, 0xd2800000, reg, block, half)
        first = False
    return out


cdef inline uint8_t *put_address(uint8_t *out, int reg, uint64_t value) noexcept nogil:
    """A kernel address (upper 16 bits all ones), always in three words."""
    out = put_move(out, 0x92800000, reg, ~<uint32_t>value, 0)
    out = put_move(out, 0xf2800000, reg, <uint32_t>(value >> 16), 1)
    return put_move(out, 0xf2800000, reg, <uint32_t>(value >> 32), 2)


cdef int encode(uint8_t *out, uint64_t address, int op, const int64_t *args) noexcept nogil:
    cdef const Definition *d
    cdef const Field *field
    cdef uint8_t *start = out
    cdef uint32_t word
    cdef int64_t value, limit
    cdef int i
    if op < 0 or op >= definition_count:
        return ENCODE_UNKNOWN
    d = &definitions[op]
    if d.form == WORD:
        word = d.word
        for i in range(d.count):
            field = &d.fields[i]
            value = args[i]
            if field.flags & PCREL:
                value -= <int64_t>address
            if value & ((1 << field.scale) - 1):
                return ENCODE_RANGE
            value >>= field.scale
            limit = (<int64_t>1) << (field.width - (1 if field.flags & SIGNED else 0))
            if value >= limit or value < (-limit if field.flags & SIGNED else 0):
                return ENCODE_RANGE
            value &= ((<int64_t>1) << field.width) - 1
            if field.flags & ADR:
                word |= <uint32_t>((value & 3) << 29 | (value >> 2) << 5)
            else:
                word |= <uint32_t>(value << field.lsb)
        put(out, word)
        return 4
    if d.form == CALL:
        if args[1] < 0 or args[1] > 30:
            return ENCODE_RANGE
        value = args[0] - <int64_t>address
        if value & 3:
            return ENCODE_RANGE
        value >>= 2
        if -(1 << 25) <= value < 1 << 25:
            put(out, <uint32_t>0x94000000 | <uint32_t>(value & 0x3ffffff))
            return 4
        if <uint64_t>args[0] >> 48 != 0xffff:
            return ENCODE_RANGE
        out = put_address(out, <int>args[1], <uint64_t>args[0])
        out = put(out, <uint32_t>0xd63f0000 | <uint32_t>args[1] << 5)
        return <int>(out - start)
    if d.form == STORE_VALUE:
        if (args[1] < 0 or args[1] > 30 or args[2] < 0 or args[2] > 31
                or args[3] < 0 or args[3] > 32760 or args[3] & 7):
            return ENCODE_RANGE
        if args[0]:
            out = put_value(out, <int>args[1], <uint64_t>args[0])
        word = <uint32_t>(args[3] >> 3 << 10 | args[2] << 5 | (args[1] if args[0] else 31))
        out = put(out, <uint32_t>0xf9000000 | word)
        return <int>(out - start)
    if args[0] < 0 or args[0] > 31:
        return ENCODE_RANGE
    if d.form == MOV_VALUE:
        out = put_value(out, <int>args[0], <uint64_t>args[1])
    elif d.form == MOV_VALUE32 or d.form == MOV_VALUE_SX:
        if args[1] < -(<int64_t>1 << 31) or args[1] > <int64_t>0xffffffff:
            return ENCODE_RANGE
        out = put_value32(out, <int>args[0], <uint32_t>args[1],
                          0 if d.form == MOV_VALUE32 else <uint32_t>1 << 31)
    elif d.form == MOV_ADDRESS:
        if <uint64_t>args[1] >> 48 != 0xffff:
            return ENCODE_RANGE
        out = put_address(out, <int>args[0], <uint64_t>args[1])
    else:
        return ENCODE_UNKNOWN
    return <int>(out - start)


def _define():
    global definition_count
    for number, (_name, form, word, *fields) in enumerate(_TABLE):
        definitions[number].form = form
        definitions[number].word = word
        definitions[number].count = len(fields)
        for i, (lsb, width, scale, flags) in enumerate(fields):
            definitions[number].fields[i].lsb = lsb
            definitions[number].fields[i].width = width
            definitions[number].fields[i].scale = scale
            definitions[number].fields[i].flags = flags
    definition_count = len(_TABLE)


assert len(_TABLE) <= MAX_DEFINITIONS
_define()
ISA = make_isa(
    encode, fill_nops, tuple(row[0] for row in _TABLE), tuple(len(row) - 3 for row in _TABLE))
