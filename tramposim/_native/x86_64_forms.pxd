"""Forms of x86_64 instructions, and the pieces that their encodings are put together from."""

from libc.stdint cimport int32_t, int64_t, int8_t, uint8_t, uint32_t
from libc.string cimport memcpy

cdef enum Form:
    BYTES        # no operand: `prefix` and `opcode` are the instruction
    NOPS         # count
    OREG         # register, in the low bits of the opcode
    MODRM_RM     # register, in r/m; `ext` is the opcode extension
    RM_REG       # destination in r/m, source in reg
    REG_RM       # destination in reg, source in r/m
    RM_IMM8      # r/m register /ext, imm8
    RM_IMM32     # r/m register /ext, imm32
    RM_IMM32_ACC # the same, rax as destination in the short form
    RM_IMM       # r/m register /ext: opcode|2 with imm8 if it fits, else imm32
    RM_IMM_ACC   # the same, but imm32 with rax as destination is the short form
    LOAD         # reg, base, displacement
    STORE        # base, displacement, reg (the source)
    STORE_IMM8   # base, displacement, imm8
    STORE_IMM16  # base, displacement, imm16
    STORE_IMM32  # base, displacement, imm32
    LOAD_INDEX   # reg, base, index, displacement
    STORE_INDEX  # base, index, displacement, reg
    STORE_INDEX_IMM8   # base, index, displacement, imm8
    STORE_INDEX_IMM16  # base, index, displacement, imm16
    STORE_INDEX_IMM32  # base, index, displacement, imm32
    LOAD_SCALED8 # reg, base, index, 32-bit displacement; the index counts 8 bytes
    REG_RM_IMM   # destination, source, immediate: opcode|2 with imm8 if it fits
    SHIFT_VEX    # destination, source, count register; `prefix` is VEX.pp
    MEM0_IMM8    # base, imm8: no displacement
    MEM          # base, displacement; `ext` is the opcode extension
    LOAD_ABS     # reg, 32-bit absolute address (no base, no rip)
    RIP_IMM8     # target, imm8: rip-relative operand /ext
    MOV_IMM64    # reg, value: shortest of xor, imm32, sign-extended imm32, imm64
    MOV_IMM32    # reg, value: 32-bit move, xor if zero
    OREG_IMM32   # reg, imm32
    OREG_IMM64   # reg, imm64
    REL8         # target
    REL32        # target
    REL_AUTO     # relative distance from the end: short form if it fits, else near
    CC_REL8      # condition, target
    CC_REL32     # condition, target
    CC_REL_AUTO  # condition, relative distance from the end

cdef enum Flag:
    W = 1       # REX.W
    BYTE = 2    # byte registers: spl..dil need a REX prefix
    WIDE = 4    # the displacement always has 32 bits
    REX = 8     # a REX prefix even where nothing needs it

cdef struct Definition:
    uint8_t form
    uint8_t flags
    uint8_t prefix
    uint8_t ext
    uint32_t opcode


cdef inline bint is_imm8(int64_t value) noexcept nogil:
    return value == <int8_t>value


cdef inline bint is_imm32(int64_t value) noexcept nogil:
    return value == <int32_t>value


cdef inline uint8_t *put32(uint8_t *out, int64_t value) noexcept nogil:
    cdef int32_t low = <int32_t>value
    memcpy(out, &low, 4)
    return out + 4


cdef inline uint8_t *put_head(
        uint8_t *out, const Definition *d, uint32_t opcode, int reg, int rm) noexcept nogil:
    """Legacy prefix, REX and opcode; `reg` and `rm` are the register numbers of ModRM."""
    cdef uint8_t rex = 0
    if d.prefix:
        out[0] = d.prefix
        out += 1
    if d.flags & W:
        rex = 0x48
    if reg & 8:
        rex |= 0x44
    if rm & 8:
        rex |= 0x41
    if d.flags & BYTE and (4 <= reg < 8 or (4 <= rm < 8 and d.form == REG_RM)):
        rex |= 0x40
    if d.flags & REX:
        rex |= 0x40
    if rex:
        out[0] = rex
        out += 1
    if opcode > 0xffff:
        out[0] = <uint8_t>(opcode >> 16)
        out += 1
    if opcode > 0xff:
        out[0] = <uint8_t>(opcode >> 8)
        out += 1
    out[0] = <uint8_t>opcode
    return out + 1


cdef inline uint8_t *put_registers(
        uint8_t *out, const Definition *d, uint32_t opcode, int reg, int rm) noexcept nogil:
    out = put_head(out, d, opcode, reg, rm)
    out[0] = 0xc0 | (reg & 7) << 3 | (rm & 7)
    return out + 1


cdef inline uint8_t *put_memory(
        uint8_t *out, const Definition *d, int reg, int base, int64_t displacement) noexcept nogil:
    cdef bint near = is_imm8(displacement) and not d.flags & WIDE
    out = put_head(out, d, d.opcode, reg, base)
    out[0] = (0x40 if near else 0x80) | (reg & 7) << 3 | (base & 7)
    out += 1
    if base & 7 == 4:  # rsp and r12 as base need a SIB byte
        out[0] = 0x24
        out += 1
    if near:
        out[0] = <uint8_t>displacement
        return out + 1
    return put32(out, displacement)


cdef inline bint bad_register(int64_t number) noexcept nogil:
    return number < 0 or number > 15
