"""The x86_64 encoder: one line per operation in `_TABLE`, one branch per form in `encode`.

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

__all__ = ["ISA"]

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

_ARITY = {
    BYTES: 0, NOPS: 1, OREG: 1, MODRM_RM: 1, RM_REG: 2, REG_RM: 2, RM_IMM8: 2, RM_IMM32: 2,
    RM_IMM: 2, RM_IMM_ACC: 2, RM_IMM32_ACC: 2, LOAD: 3, STORE: 3, STORE_IMM8: 3, STORE_IMM16: 3,
    STORE_IMM32: 3, LOAD_INDEX: 4, STORE_INDEX: 4, STORE_INDEX_IMM8: 4, STORE_INDEX_IMM16: 4,
    STORE_INDEX_IMM32: 4, LOAD_SCALED8: 4, REG_RM_IMM: 3, SHIFT_VEX: 3, MEM0_IMM8: 2,
    MEM: 2, LOAD_ABS: 2, RIP_IMM8: 2, MOV_IMM64: 2, MOV_IMM32: 2,
    OREG_IMM32: 2, OREG_IMM64: 2, REL8: 1, REL32: 1, REL_AUTO: 1, CC_REL8: 2, CC_REL32: 2,
    CC_REL_AUTO: 2,
}

_TABLE = (
    # name          form         flags  prefix  ext  opcode
    ("ret",         BYTES,       0,     0,      0,   0xc3),
    ("leave",       BYTES,       0,     0,      0,   0xc9),
    ("int3",        BYTES,       0,     0,      0,   0xcc),
    ("endbr64",     BYTES,       0,     0xf3,   0,   0x0f1efa),
    ("lfence",      BYTES,       0,     0,      0,   0x0faee8),
    ("cqo",         BYTES,       W,     0,      0,   0x99),
    ("cdq",         BYTES,       0,     0,      0,   0x99),
    ("nop",         NOPS,        0,     0,      0,   0),
    ("push",        OREG,        0,     0,      0,   0x50),
    ("pop",         OREG,        0,     0,      0,   0x58),
    ("mov",         RM_REG,      W,     0,      0,   0x89),
    ("mov32",       RM_REG,      0,     0,      0,   0x89),
    ("movi",        MOV_IMM64,   0,     0,      0,   0),
    ("movi32",      MOV_IMM32,   0,     0,      0,   0),
    ("mov32_imm32", OREG_IMM32,  0,     0,      0,   0xb8),
    ("mov_simm32",  RM_IMM32,    W,     0,      0,   0xc7),
    ("movabs",      OREG_IMM64,  W,     0,      0,   0xb8),
    ("movzx8",      REG_RM,      BYTE,  0,      0,   0x0fb6),
    ("movzx16",     REG_RM,      0,     0,      0,   0x0fb7),
    ("movsx8",      REG_RM,      W|BYTE, 0,     0,   0x0fbe),
    ("movsx16",     REG_RM,      W,     0,      0,   0x0fbf),
    ("movsx32",     REG_RM,      W,     0,      0,   0x63),
    ("movsx8_32",   REG_RM,      REX,   0,      0,   0x0fbe),
    ("movsx16_32",  REG_RM,      0,     0,      0,   0x0fbf),
    ("add",         RM_REG,      W,     0,      0,   0x01),
    ("or",          RM_REG,      W,     0,      0,   0x09),
    ("and",         RM_REG,      W,     0,      0,   0x21),
    ("sub",         RM_REG,      W,     0,      0,   0x29),
    ("xor",         RM_REG,      W,     0,      0,   0x31),
    ("cmp",         RM_REG,      W,     0,      0,   0x39),
    ("test",        RM_REG,      W,     0,      0,   0x85),
    ("xchg",        RM_REG,      W,     0,      0,   0x87),
    ("add32",       RM_REG,      0,     0,      0,   0x01),
    ("or32",        RM_REG,      0,     0,      0,   0x09),
    ("and32",       RM_REG,      0,     0,      0,   0x21),
    ("sub32",       RM_REG,      0,     0,      0,   0x29),
    ("xor32",       RM_REG,      0,     0,      0,   0x31),
    ("cmp32",       RM_REG,      0,     0,      0,   0x39),
    ("test32",      RM_REG,      0,     0,      0,   0x85),
    ("imul",        REG_RM,      W,     0,      0,   0x0faf),
    ("imul32",      REG_RM,      0,     0,      0,   0x0faf),
    ("addi",        RM_IMM,      W,     0,      0,   0x81),
    ("ori",         RM_IMM,      W,     0,      1,   0x81),
    ("andi",        RM_IMM,      W,     0,      4,   0x81),
    ("subi",        RM_IMM,      W,     0,      5,   0x81),
    ("xori",        RM_IMM,      W,     0,      6,   0x81),
    ("cmpi",        RM_IMM,      W,     0,      7,   0x81),
    ("addi32",      RM_IMM,      0,     0,      0,   0x81),
    ("ori32",       RM_IMM,      0,     0,      1,   0x81),
    ("andi32",      RM_IMM,      0,     0,      4,   0x81),
    ("subi32",      RM_IMM,      0,     0,      5,   0x81),
    ("xori32",      RM_IMM,      0,     0,      6,   0x81),
    ("cmpi32",      RM_IMM,      0,     0,      7,   0x81),
    ("addi_acc",    RM_IMM_ACC,  W,     0,      0,   0x81),
    ("ori_acc",     RM_IMM_ACC,  W,     0,      1,   0x81),
    ("andi_acc",    RM_IMM_ACC,  W,     0,      4,   0x81),
    ("subi_acc",    RM_IMM_ACC,  W,     0,      5,   0x81),
    ("xori_acc",    RM_IMM_ACC,  W,     0,      6,   0x81),
    ("addi32_acc",  RM_IMM_ACC,  0,     0,      0,   0x81),
    ("ori32_acc",   RM_IMM_ACC,  0,     0,      1,   0x81),
    ("andi32_acc",  RM_IMM_ACC,  0,     0,      4,   0x81),
    ("subi32_acc",  RM_IMM_ACC,  0,     0,      5,   0x81),
    ("xori32_acc",  RM_IMM_ACC,  0,     0,      6,   0x81),
    ("subi_wide",   RM_IMM32,    W,     0,      5,   0x81),
    ("testi",       RM_IMM32,    W,     0,      0,   0xf7),
    ("testi32",     RM_IMM32,    0,     0,      0,   0xf7),
    ("not",         MODRM_RM,    W,     0,      2,   0xf7),
    ("neg",         MODRM_RM,    W,     0,      3,   0xf7),
    ("mul",         MODRM_RM,    W,     0,      4,   0xf7),
    ("div",         MODRM_RM,    W,     0,      6,   0xf7),
    ("idiv",        MODRM_RM,    W,     0,      7,   0xf7),
    ("neg32",       MODRM_RM,    0,     0,      3,   0xf7),
    ("div32",       MODRM_RM,    0,     0,      6,   0xf7),
    ("idiv32",      MODRM_RM,    0,     0,      7,   0xf7),
    ("shli",        RM_IMM8,     W,     0,      4,   0xc1),
    ("shri",        RM_IMM8,     W,     0,      5,   0xc1),
    ("sari",        RM_IMM8,     W,     0,      7,   0xc1),
    ("shli32",      RM_IMM8,     0,     0,      4,   0xc1),
    ("shri32",      RM_IMM8,     0,     0,      5,   0xc1),
    ("sari32",      RM_IMM8,     0,     0,      7,   0xc1),
    ("shl1",        MODRM_RM,    W,     0,      4,   0xd1),
    ("shr1",        MODRM_RM,    W,     0,      5,   0xd1),
    ("sar1",        MODRM_RM,    W,     0,      7,   0xd1),
    ("shl1_32",     MODRM_RM,    0,     0,      4,   0xd1),
    ("shr1_32",     MODRM_RM,    0,     0,      5,   0xd1),
    ("sar1_32",     MODRM_RM,    0,     0,      7,   0xd1),
    ("shlx",        SHIFT_VEX,   W,     1,      0,   0xf7),
    ("sarx",        SHIFT_VEX,   W,     2,      0,   0xf7),
    ("shrx",        SHIFT_VEX,   W,     3,      0,   0xf7),
    ("shlx32",      SHIFT_VEX,   0,     1,      0,   0xf7),
    ("sarx32",      SHIFT_VEX,   0,     2,      0,   0xf7),
    ("shrx32",      SHIFT_VEX,   0,     3,      0,   0xf7),
    ("roli",        RM_IMM8,     W,     0,      0,   0xc1),
    ("imuli",       REG_RM_IMM,  W,     0,      0,   0x69),
    ("imuli32",     REG_RM_IMM,  0,     0,      0,   0x69),
    ("addi_wide",   RM_IMM32,    W,     0,      0,   0x81),
    ("ori_wide_acc", RM_IMM32_ACC, W,   0,      1,   0x81),
    ("cmove",       REG_RM,      W,     0,      0,   0x0f44),
    ("rori16",      RM_IMM8,     0,     0x66,   1,   0xc1),
    ("shl_cl",      MODRM_RM,    W,     0,      4,   0xd3),
    ("shr_cl",      MODRM_RM,    W,     0,      5,   0xd3),
    ("sar_cl",      MODRM_RM,    W,     0,      7,   0xd3),
    ("shl32_cl",    MODRM_RM,    0,     0,      4,   0xd3),
    ("shr32_cl",    MODRM_RM,    0,     0,      5,   0xd3),
    ("sar32_cl",    MODRM_RM,    0,     0,      7,   0xd3),
    ("bswap",       OREG,        W,     0,      0,   0x0fc8),
    ("bswap32",     OREG,        0,     0,      0,   0x0fc8),
    ("lea",         LOAD,        W,     0,      0,   0x8d),
    ("lea32",       LOAD,        0,     0,      0,   0x8d),
    ("load64",      LOAD,        W,     0,      0,   0x8b),
    ("load64_wide", LOAD,        W|WIDE, 0,     0,   0x8b),
    ("load32",      LOAD,        0,     0,      0,   0x8b),
    ("load16",      LOAD,        0,     0,      0,   0x0fb7),
    ("load8",       LOAD,        0,     0,      0,   0x0fb6),
    ("loads32",     LOAD,        W,     0,      0,   0x63),
    ("loads16",     LOAD,        W,     0,      0,   0x0fbf),
    ("loads8",      LOAD,        W,     0,      0,   0x0fbe),
    ("load16_64",   LOAD,        W,     0,      0,   0x0fb7),
    ("load8_64",    LOAD,        W,     0,      0,   0x0fb6),
    ("load64_x8",   LOAD_SCALED8, W,    0,      0,   0x8b),
    ("load64_index", LOAD_INDEX, W,     0,      0,   0x8b),
    ("load32_index", LOAD_INDEX, 0,     0,      0,   0x8b),
    ("load16_index", LOAD_INDEX, 0,     0,      0,   0x0fb7),
    ("load8_index", LOAD_INDEX,  0,     0,      0,   0x0fb6),
    ("loads32_index", LOAD_INDEX, W,    0,      0,   0x63),
    ("loads16_index", LOAD_INDEX, W,    0,      0,   0x0fbf),
    ("loads8_index", LOAD_INDEX, W,     0,      0,   0x0fbe),
    ("store64_index", STORE_INDEX, W,   0,      0,   0x89),
    ("store32_index", STORE_INDEX, 0,   0,      0,   0x89),
    ("store16_index", STORE_INDEX, 0,   0x66,   0,   0x89),
    ("store8_index", STORE_INDEX, BYTE, 0,      0,   0x88),
    ("storei64_index", STORE_INDEX_IMM32, W, 0, 0,   0xc7),
    ("storei32_index", STORE_INDEX_IMM32, 0, 0, 0,   0xc7),
    ("storei16_index", STORE_INDEX_IMM16, 0, 0x66, 0, 0xc7),
    ("storei8_index", STORE_INDEX_IMM8, 0, 0,   0,   0xc6),
    ("load64_gs",   LOAD_ABS,    W,     0x65,   0,   0x8b),
    ("add_gs",      LOAD_ABS,    W,     0x65,   0,   0x03),
    ("store64",     STORE,       W,     0,      0,   0x89),
    ("store32",     STORE,       0,     0,      0,   0x89),
    ("store16",     STORE,       0,     0x66,   0,   0x89),
    ("store8",      STORE,       BYTE,  0,      0,   0x88),
    ("storei64",    STORE_IMM32, W,     0,      0,   0xc7),
    ("storei32",    STORE_IMM32, 0,     0,      0,   0xc7),
    ("storei16",    STORE_IMM16, 0,     0x66,   0,   0xc7),
    ("storei8",     STORE_IMM8,  0,     0,      0,   0xc6),
    ("add_mem_imm8", STORE_IMM8, W,     0,      0,   0x83),
    ("cmp_mem_imm8", STORE_IMM8, W,     0,      7,   0x83),
    ("cmp_mem32",   STORE,       0,     0,      0,   0x39),
    ("cmp_at_imm8", MEM0_IMM8,   W,     0,      7,   0x83),
    ("add_at_imm8", MEM0_IMM8,   W,     0,      0,   0x83),
    ("lock_xchg",   STORE,       W,     0xf0,   0,   0x87),
    ("lock_xchg32", STORE,       0,     0xf0,   0,   0x87),
    ("lock_add",    STORE,       W,     0xf0,   0,   0x01),
    ("lock_or",     STORE,       W,     0xf0,   0,   0x09),
    ("lock_and",    STORE,       W,     0xf0,   0,   0x21),
    ("lock_xor",    STORE,       W,     0xf0,   0,   0x31),
    ("lock_xadd",   STORE,       W,     0xf0,   0,   0x0fc1),
    ("lock_cmpxchg", STORE,      W,     0xf0,   0,   0x0fb1),
    ("xchg_mem",    STORE,       W,     0,      0,   0x87),
    ("lock_add32",  STORE,       0,     0xf0,   0,   0x01),
    ("lock_or32",   STORE,       0,     0xf0,   0,   0x09),
    ("lock_and32",  STORE,       0,     0xf0,   0,   0x21),
    ("lock_xor32",  STORE,       0,     0xf0,   0,   0x31),
    ("lock_xadd32", STORE,       0,     0xf0,   0,   0x0fc1),
    ("lock_cmpxchg32", STORE,    0,     0xf0,   0,   0x0fb1),
    ("xchg_mem32",  STORE,       0,     0,      0,   0x87),
    ("lock_add_index", STORE_INDEX, W,  0xf0,   0,   0x01),
    ("lock_or_index", STORE_INDEX, W,   0xf0,   0,   0x09),
    ("lock_and_index", STORE_INDEX, W,  0xf0,   0,   0x21),
    ("lock_xor_index", STORE_INDEX, W,  0xf0,   0,   0x31),
    ("lock_xadd_index", STORE_INDEX, W, 0xf0,   0,   0x0fc1),
    ("lock_cmpxchg_index", STORE_INDEX, W, 0xf0, 0,  0x0fb1),
    ("xchg_mem_index", STORE_INDEX, W,  0,      0,   0x87),
    ("lock_xchg_index", STORE_INDEX, W, 0xf0,   0,   0x87),
    ("lock_add32_index", STORE_INDEX, 0, 0xf0,  0,   0x01),
    ("lock_or32_index", STORE_INDEX, 0, 0xf0,   0,   0x09),
    ("lock_and32_index", STORE_INDEX, 0, 0xf0,  0,   0x21),
    ("lock_xor32_index", STORE_INDEX, 0, 0xf0,  0,   0x31),
    ("lock_xadd32_index", STORE_INDEX, 0, 0xf0, 0,   0x0fc1),
    ("lock_cmpxchg32_index", STORE_INDEX, 0, 0xf0, 0, 0x0fb1),
    ("xchg_mem32_index", STORE_INDEX, 0, 0,     0,   0x87),
    ("lock_xchg32_index", STORE_INDEX, 0, 0xf0, 0,   0x87),
    ("sar_gs_rip",  RIP_IMM8,    W,     0x65,   7,   0xc1),
    ("call",        REL32,       0,     0,      0,   0xe8),
    ("call_reg",    MODRM_RM,    0,     0,      2,   0xff),
    ("jmp",         REL32,       0,     0,      0,   0xe9),
    ("jmp_short",   REL8,        0,     0,      0,   0xeb),
    ("jmp_rel",     REL_AUTO,    0,     0,      0,   0xeb),
    ("jmp_reg",     MODRM_RM,    0,     0,      4,   0xff),
    ("jcc",         CC_REL32,    0,     0,      0,   0x0f80),
    ("jcc_short",   CC_REL8,     0,     0,      0,   0x70),
    ("jcc_rel",     CC_REL_AUTO, 0,     0,      0,   0x70),
)

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
    for number, (_name, form, flags, prefix, ext, opcode) in enumerate(_TABLE):
        definitions[number].form = form
        definitions[number].flags = flags
        definitions[number].prefix = prefix
        definitions[number].ext = ext
        definitions[number].opcode = opcode
    definition_count = len(_TABLE)


assert len(_TABLE) <= MAX_DEFINITIONS
_define()
ISA = make_isa(
    encode, fill_nops, tuple(row[0] for row in _TABLE), tuple(_ARITY[row[1]] for row in _TABLE))
