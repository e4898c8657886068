"""Instructions of a trace, numbered: from executed addresses to indices of static records."""

from libc.stdlib cimport calloc, free
from libc.stdint cimport int32_t, int64_t, uint64_t


def index_addresses(const uint64_t[::1] pcs, int32_t[::1] indices):
    """Number the distinct addresses of `pcs` in order of first appearance.

    Writes the number of each executed instruction to `indices` (same length) and returns the
    distinct addresses as a list, so that each is decoded once.
    """
    cdef Py_ssize_t i, n = pcs.shape[0]
    cdef uint64_t size = 1 << 12, mask, slot, pc
    cdef int32_t count = 0
    cdef uint64_t *keys
    cdef int32_t *numbers
    cdef uint64_t *larger
    cdef int32_t *larger_numbers
    if indices.shape[0] != n:
        raise ValueError("indices and pcs differ in length")
    distinct = []
    keys = <uint64_t *>calloc(size, 8)
    numbers = <int32_t *>calloc(size, 4)
    if keys == NULL or numbers == NULL:
        free(keys)
        free(numbers)
        raise MemoryError
    try:
        mask = size - 1
        for i in range(n):
            pc = pcs[i]
            slot = ((pc * 0x9E3779B97F4A7C15ULL) >> 20) & mask
            while numbers[slot] and keys[slot] != pc:
                slot = (slot + 1) & mask
            if not numbers[slot]:
                count += 1
                keys[slot] = pc
                numbers[slot] = count
                distinct.append(pc)
                if <uint64_t>count * 2 > size:
                    larger = <uint64_t *>calloc(size * 2, 8)
                    larger_numbers = <int32_t *>calloc(size * 2, 4)
                    if larger == NULL or larger_numbers == NULL:
                        free(larger)
                        free(larger_numbers)
                        raise MemoryError
                    _rehash(keys, numbers, size, larger, larger_numbers)
                    free(keys)
                    free(numbers)
                    keys = larger
                    numbers = larger_numbers
                    size *= 2
                    mask = size - 1
                indices[i] = count - 1
            else:
                indices[i] = numbers[slot] - 1
    finally:
        free(keys)
        free(numbers)
    return distinct


cdef void _rehash(
    uint64_t *keys, int32_t *numbers, uint64_t size, uint64_t *larger, int32_t *larger_numbers
) noexcept nogil:
    cdef uint64_t i, slot
    for i in range(size):
        if numbers[i]:
            slot = ((keys[i] * 0x9E3779B97F4A7C15ULL) >> 20) & (size * 2 - 1)
            while larger_numbers[slot]:
                slot = (slot + 1) & (size * 2 - 1)
            larger[slot] = keys[i]
            larger_numbers[slot] = numbers[i]
