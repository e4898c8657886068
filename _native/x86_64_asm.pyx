"""The x86_64 encoder: one line per operation in x86_64_table.pyx, one branch per form in
`encode`.

Registers are numbered as in instruction encodings (rax 0 .. r15 15), condition codes as in
Jcc. Memory operands are [base + displacement], encoded with an 8-bit displacement whenever
it fits (also for 0) and a 32-bit one otherwise. Encodings: Intel SDM volume 2.
"""

from libc.stdint cimport int32_t, int64_t, int8_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from tramposim._native.asmplan cimport (
    ENCODE_RANGE,
    ENCODE_UNKNOWN,
    make_isa,
)
from tramposim._native.x86_64_forms cimport (
    W, BYTE, BYTES, CC_REL32, CC_REL8, CC_REL_AUTO, LOAD, LOAD_ABS, LOAD_INDEX, LOAD_SCALED8, MEM,
    MEM0_IMM8, MODRM_RM, MOV_IMM32, MOV_IMM64, NOPS, OREG, OREG_IMM32, OREG_IMM64, REG_RM,
    REG_RM_IMM, REL32, REL8, REL_AUTO, RIP_IMM8, RM_IMM, RM_IMM32, RM_IMM32_ACC, RM_IMM8,
    RM_IMM_ACC, RM_REG, SHIFT_VEX, STORE, STORE_IMM16, STORE_IMM32, STORE_IMM8, STORE_INDEX,
    STORE_INDEX_IMM16, STORE_INDEX_IMM32, STORE_INDEX_IMM8, Definition, bad_register, is_imm32,
    is_imm8, put32, put_head, put_memory, put_registers)

from tramposim._native.x86_64_table import ARITY, TABLE

__all__ = ["ISA"]

cdef enum:
    MAX_DEFINITIONS = 512

cdef Definition definitions[MAX_DEFINITIONS]
cdef int definition_count = 0


cdef void fill_nops(uint8_t *out, int count) noexcept nogil:
    """Multi-byte NOPs of up to 11 bytes: 0f 1f forms, longer ones with 66 and 2e prefixes."""
    cdef int step, body
    while count > 0:
        step = count if count < 11 else 11
        count -= step
        while step > 9:
            out[0] = 0x66
            out += 1
            step -= 1
        if step == 9:
            out[0] = 0x2e
            out += 1
            step -= 1
        elif step == 6 or step == 2:
            out[0] = 0x66
            out += 1
            step -= 1
        if step == 1:
            out[0] = 0x90
        else:
            for body in range(step):
                out[body] = 0
            out[0] = 0x0f
            out[1] = 0x1f
            if step == 4:
                out[2] = 0x40
            elif step == 5:
                out[2] = 0x44
            elif step == 7:
                out[2] = 0x80
            elif step == 8:
                out[2] = 0x84
        out += step


cdef int encode(uint8_t *out, uint64_t address, int op, const int64_t *args) noexcept nogil:
    cdef const Definition *d
    cdef uint8_t *start = out
    cdef int64_t a = args[0], b = args[1], c = args[2], distance
    cdef int form
    if op < 0 or op >= definition_count:
        return ENCODE_UNKNOWN
    d = &definitions[op]
    form = d.form
    if form == BYTES:
        out = put_head(out, d, d.opcode, 0, 0)
    elif form == NOPS:
        if a < 1 or a > 15:
            return ENCODE_RANGE
        fill_nops(out, <int>a)
        out += a
    elif form == OREG:
        if bad_register(a):
            return ENCODE_RANGE
        out = put_head(out, d, d.opcode | (a & 7), 0, <int>a)
    elif form == MODRM_RM:
        if bad_register(a):
            return ENCODE_RANGE
        out = put_head(out, d, d.opcode, 0, <int>a)
        out[0] = 0xc0 | d.ext << 3 | (a & 7)
        out += 1
    elif form == RM_REG or form == REG_RM:
        if bad_register(a) or bad_register(b):
            return ENCODE_RANGE
        if form == RM_REG:
            out = put_registers(out, d, d.opcode, <int>b, <int>a)
        else:
            out = put_registers(out, d, d.opcode, <int>a, <int>b)
    elif form == RM_IMM8:
        if bad_register(a) or b < -128 or b > 255:
            return ENCODE_RANGE
        out = put_registers(out, d, d.opcode, d.ext, <int>a)
        out[0] = <uint8_t>b
        out += 1
    elif (form == RM_IMM or form == RM_IMM_ACC or form == RM_IMM32
            or form == RM_IMM32_ACC):
        if bad_register(a) or not is_imm32(b):
            return ENCODE_RANGE
        if (form == RM_IMM or form == RM_IMM_ACC) and is_imm8(b):
            out = put_registers(out, d, d.opcode | 2, d.ext, <int>a)
            out[0] = <uint8_t>b
            out += 1
        elif (form == RM_IMM_ACC or form == RM_IMM32_ACC) and a == 0:
            out = put_head(out, d, d.ext << 3 | 5, 0, 0)
            out = put32(out, b)
        else:
            out = put_registers(out, d, d.opcode, d.ext, <int>a)
            out = put32(out, b)
    elif form == LOAD:
        if bad_register(a) or bad_register(b) or not is_imm32(c):
            return ENCODE_RANGE
        out = put_memory(out, d, <int>a, <int>b, c)
    elif form == STORE:
        if bad_register(a) or bad_register(c) or not is_imm32(b):
            return ENCODE_RANGE
        out = put_memory(out, d, <int>c, <int>a, b)
    elif form == STORE_IMM8 or form == STORE_IMM16 or form == STORE_IMM32:
        if bad_register(a) or not is_imm32(b) or not is_imm32(c):
            return ENCODE_RANGE
        out = put_memory(out, d, d.ext, <int>a, b)
        if form == STORE_IMM32:
            out = put32(out, c)
        else:
            out[0] = <uint8_t>c
            out += 1
            if form == STORE_IMM16:
                out[0] = <uint8_t>(c >> 8)
                out += 1
    elif LOAD_INDEX <= form <= LOAD_SCALED8:
        return encode_indexed(out, d, args)
    elif form == REG_RM_IMM:
        if bad_register(a) or bad_register(b) or not is_imm32(c):
            return ENCODE_RANGE
        out = put_registers(out, d, d.opcode | (2 if is_imm8(c) else 0), <int>a, <int>b)
        if is_imm8(c):
            out[0] = <uint8_t>c
            out += 1
        else:
            out = put32(out, c)
    elif form == SHIFT_VEX:
        if bad_register(a) or bad_register(b) or bad_register(c):
            return ENCODE_RANGE
        out[0] = 0xc4
        out[1] = <uint8_t>((0x62 if a & 8 else 0xe2) ^ (0x20 if b & 8 else 0))
        out[2] = <uint8_t>((0x80 if d.flags & W else 0) | (~c & 15) << 3 | d.prefix)
        out[3] = <uint8_t>d.opcode
        out[4] = 0xc0 | (a & 7) << 3 | (b & 7)
        out += 5
    elif form == MEM0_IMM8:
        if bad_register(a) or a & 7 == 4 or a & 7 == 5 or not is_imm8(b):
            return ENCODE_RANGE
        out = put_head(out, d, d.opcode, 0, <int>a)
        out[0] = d.ext << 3 | (a & 7)
        out[1] = <uint8_t>b
        out += 2
    elif form == MEM:
        if bad_register(a) or not is_imm32(b):
            return ENCODE_RANGE
        out = put_memory(out, d, d.ext, <int>a, b)
    elif form == LOAD_ABS:
        if bad_register(a) or not is_imm32(b):
            return ENCODE_RANGE
        out = put_head(out, d, d.opcode, <int>a, 0)
        out[0] = 0x04 | (a & 7) << 3
        out[1] = 0x25
        out = put32(out + 2, b)
    elif form == RIP_IMM8:
        out = put_head(out, d, d.opcode, 0, 0)
        out[0] = 0x05 | d.ext << 3
        out += 1
        distance = a - <int64_t>(address + (out - start) + 5)
        if not is_imm32(distance):
            return ENCODE_RANGE
        out = put32(out, distance)
        out[0] = <uint8_t>b
        out += 1
    elif form == MOV_IMM64 or form == MOV_IMM32 or form == OREG_IMM32 or form == OREG_IMM64:
        if bad_register(a):
            return ENCODE_RANGE
        return encode_move_immediate(out, form, <int>a, b)
    elif form == REL8 or form == CC_REL8:
        if form == CC_REL8:
            if bad_register(a):
                return ENCODE_RANGE
            a = b
        distance = a - <int64_t>(address + 2)
        if not is_imm8(distance):
            return ENCODE_RANGE
        out[0] = <uint8_t>(d.opcode | (args[0] if form == CC_REL8 else 0))
        out[1] = <uint8_t>distance
        out += 2
    elif form == REL32:
        distance = a - <int64_t>(address + 5)
        if not is_imm32(distance):
            return ENCODE_RANGE
        out[0] = <uint8_t>d.opcode
        out = put32(out + 1, distance)
    elif form == CC_REL32:
        distance = b - <int64_t>(address + 6)
        if bad_register(a) or not is_imm32(distance):
            return ENCODE_RANGE
        out[0] = 0x0f
        out[1] = <uint8_t>(0x80 | a)
        out = put32(out + 2, distance)
    elif form == REL_AUTO:
        if is_imm8(a):
            out[0] = 0xeb
            out[1] = <uint8_t>a
            out += 2
        elif is_imm32(a):
            out[0] = 0xe9
            out = put32(out + 1, a)
        else:
            return ENCODE_RANGE
    elif form == CC_REL_AUTO:
        if bad_register(a) or not is_imm32(b):
            return ENCODE_RANGE
        if is_imm8(b):
            out[0] = <uint8_t>(0x70 | a)
            out[1] = <uint8_t>b
            out += 2
        else:
            out[0] = 0x0f
            out[1] = <uint8_t>(0x80 | a)
            out = put32(out + 2, b)
    else:
        return ENCODE_UNKNOWN
    return <int>(out - start)


cdef int encode_indexed(uint8_t *out, const Definition *d, const int64_t *args) noexcept nogil:
    """[base + index + displacement], the index scaled by 8 in LOAD_SCALED8 only."""
    cdef bint load = d.form == LOAD_INDEX or d.form == LOAD_SCALED8
    cdef int64_t base = args[1] if load else args[0], index = args[2] if load else args[1]
    cdef int64_t displacement = args[3] if load else args[2], reg = args[0] if load else args[3]
    cdef int64_t immediate = args[3]
    cdef bint near = is_imm8(displacement) and d.form != LOAD_SCALED8
    cdef uint8_t *start = out
    cdef uint8_t rex = 0
    if not load and d.form != STORE_INDEX:
        reg = d.ext
    if (bad_register(base) or bad_register(index) or index == 4 or bad_register(reg)
            or not is_imm32(displacement) or not is_imm32(immediate)):
        return ENCODE_RANGE
    if d.prefix:
        out[0] = d.prefix
        out += 1
    rex = (0x48 if d.flags & W else 0) | (0x44 if reg & 8 else 0)
    rex |= (0x42 if index & 8 else 0) | (0x41 if base & 8 else 0)
    if d.flags & BYTE and 4 <= reg < 8:
        rex |= 0x40
    if rex:
        out[0] = rex
        out += 1
    if d.opcode > 0xff:
        out[0] = <uint8_t>(d.opcode >> 8)
        out += 1
    out[0] = <uint8_t>d.opcode
    out[1] = (0x44 if near else 0x84) | (reg & 7) << 3
    out[2] = (0xc0 if d.form == LOAD_SCALED8 else 0) | (index & 7) << 3 | (base & 7)
    out += 3
    if near:
        out[0] = <uint8_t>displacement
        out += 1
    else:
        out = put32(out, displacement)
    if d.form == STORE_INDEX_IMM32:
        out = put32(out, immediate)
    elif d.form == STORE_INDEX_IMM8 or d.form == STORE_INDEX_IMM16:
        out[0] = <uint8_t>immediate
        out += 1
        if d.form == STORE_INDEX_IMM16:
            out[0] = <uint8_t>(immediate >> 8)
            out += 1
    return <int>(out - start)


cdef int encode_move_immediate(uint8_t *out, int form, int reg, int64_t value) noexcept nogil:
    """Loads of a constant; MOV_IMM64 picks the shortest that gives the 64-bit value."""
    cdef uint8_t rex_b = 0x41 if reg & 8 else 0
    cdef uint8_t *start = out
    cdef uint64_t wide = <uint64_t>value
    if form == MOV_IMM64:
        if wide <= <uint64_t>0xffffffff:
            form = MOV_IMM32
        elif is_imm32(value):
            out[0] = 0x48 | rex_b
            out[1] = 0xc7
            out[2] = 0xc0 | (reg & 7)
            put32(out + 3, value)
            return 7
        else:
            form = OREG_IMM64
    if form == OREG_IMM64:
        out[0] = 0x48 | rex_b
        out[1] = 0xb8 | (reg & 7)
        memcpy(out + 2, &value, 8)
        return 10
    if not is_imm32(value) and wide > <uint64_t>0xffffffff:
        return ENCODE_RANGE
    if form == MOV_IMM32 and <uint32_t>wide == 0:
        if rex_b:
            out[0] = 0x45
            out += 1
        out[0] = 0x31
        out[1] = 0xc0 | (reg & 7) << 3 | (reg & 7)
        return <int>(out + 2 - start)
    if rex_b:
        out[0] = rex_b
        out += 1
    out[0] = 0xb8 | (reg & 7)
    return <int>(put32(out + 1, value) - start)


def _define():
    global definition_count
    for number, (_name, form, flags, prefix, ext, opcode) in enumerate(TABLE):
        definitions[number].form = form
        definitions[number].flags = flags
        definitions[number].prefix = prefix
        definitions[number].ext = ext
        definitions[number].opcode = opcode
    definition_count = len(TABLE)


assert len(TABLE) <= MAX_DEFINITIONS
_define()
ISA = make_isa(
    encode, fill_nops, tuple(row[0] for row in TABLE), tuple(ARITY[row[1]] for row in TABLE))
