from libc.stdint cimport int64_t, uint8_t, uint64_t

# One operation of the table (its number: ISA.ops) at `address`; see asmplan.encode_t.
cdef int encode(uint8_t *out, uint64_t address, int op, const int64_t *args) noexcept nogil
