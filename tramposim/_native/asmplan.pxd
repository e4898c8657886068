from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    MAX_OPERANDS = 5
    MAX_OP_BYTES = 32

# Encodes one operation as it stands at `address` into `out` (MAX_OP_BYTES free).
# Returns its length, or a negative ENCODE_* status. Branch and call operands are absolute.
ctypedef int (*encode_t)(
    uint8_t *out, uint64_t address, int op, const int64_t *args) noexcept nogil

# Fills `count` bytes with no-operations.
ctypedef void (*fill_t)(uint8_t *out, int count) noexcept nogil

cdef enum:
    ENCODE_RANGE = -1    # an operand does not fit its field
    ENCODE_UNKNOWN = -2  # no such operation

cdef struct Operand:
    int64_t value        # the literal, or what is added to the slot or label
    int16_t slot         # index of the slot, or -1
    int16_t label        # index of the label, or -1

cdef struct Op:
    int16_t code         # operation of the ISA, or a PLAN_* pseudo-operation
    uint8_t count        # operands
    Operand args[MAX_OPERANDS]

cdef class Isa:
    cdef encode_t encode
    cdef fill_t fill
    cdef readonly dict ops
    cdef readonly tuple names
    cdef readonly tuple operand_counts

cdef Isa make_isa(encode_t encode, fill_t fill, tuple names, tuple operand_counts)

cdef class Slot:
    cdef readonly int index
    cdef readonly int64_t addend

cdef class Label:
    cdef readonly int index
    cdef readonly int64_t addend

cdef class Code:
    cdef readonly bytes code
    cdef readonly uint64_t address
    cdef bytes _marks
    cdef int _labels

cdef class Plan:
    cdef readonly Isa isa
    cdef Op *_ops
    cdef int _count, _room
    cdef int _slots, _labels, _parts
    cdef uint8_t *_buffer
    cdef int64_t *_values
    cdef int32_t *_marks
    cdef int32_t *_fixes
    cdef int _reserved
    cdef int _append(self, int code, tuple operands) except -1
    cdef int _reserve(self) except -1
    cdef int _encode(self, Op *op, uint64_t base, int position) except -1
    cpdef Code emit(self, uint64_t base, slots)
