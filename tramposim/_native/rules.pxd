"""Rules: what a record is translated to, compiled to arrays."""

from libc.stdint cimport int16_t, int32_t, int64_t, int8_t, uint8_t, uint64_t

from tramposim._native.asmplan cimport MAX_OPERANDS, Isa

cdef enum:
    MAX_ITEMS = 64       # of one rule
    MAX_LOCALS = 8
    MAX_RULES = 1 << 16

cdef enum Source:
    S_LITERAL
    S_IMM        # imm, sign extended
    S_IMM64      # imm of this record and, as upper half, of the next
    S_OFFSET     # offset, sign extended
    S_PARAM      # a value given with the whole translation
    S_TARGET     # address of the record that `offset` records after this one begin
    S_TARGET_IMM # the same with imm
    S_ONCE       # where the first record with an opcode marked KEY_FIRST begins
    S_END        # where the last record ends
    S_HERE       # offset of the operation itself from the start of the code
    S_LOCAL      # a label inside the rule

cdef enum Transform:
    T_NONE
    T_NEGATE
    T_SHIFT12    # divided by 4096
    T_NEGATE_SHIFT12
    T_NEAR       # the address with these low 32 bits that lies nearest to the code
    T_BITMASK32  # N:immr:imms of an arm64 logical immediate
    T_BITMASK64

cdef enum Predicate:
    P_ZERO
    P_IMM12
    P_IMM12_SHIFTED
    P_SCALED1
    P_SCALED2
    P_SCALED4
    P_SCALED8
    P_BITMASK32
    P_BITMASK64
    P_MISALIGNED8

cdef enum Pseudo:
    I_WHEN = -1   # predicate, value, count: the next `count` items only if it holds
    I_SKIP = -2   # count
    I_LABEL = -3  # index
    I_BRANCH = -4 # short op, near op, condition or -1, destination

cdef struct Record:
    uint8_t opcode
    uint8_t registers
    int16_t offset
    int32_t imm

cdef struct Arg:
    int64_t addend      # or the literal
    uint8_t source
    uint8_t transform
    int16_t index       # of a param or local
    int16_t base        # a param added, or -1

cdef struct Item:
    int16_t code
    uint8_t count
    Arg args[MAX_OPERANDS]

cdef struct Rule:
    int32_t first
    int16_t count
    int8_t locals
    uint8_t fixed       # its size depends neither on where it lies nor on its targets

cdef class Value:
    cdef public int source, index, base, transform
    cdef public object addend

cdef class RuleBook:
    cdef Isa isa
    cdef Item *items
    cdef int item_count, item_room
    cdef Rule *rules
    cdef int rule_count
    cdef dict fragments
    cdef int forget(self) except -1
    cdef int add(self, items) except -1
    cdef int compile(self, Arg *arg, operand) except -1
    cdef int fragment(self, items) except -1

cdef int bitmask(uint64_t value, int width) noexcept nogil
cdef bint holds(int predicate, int64_t value) noexcept nogil
