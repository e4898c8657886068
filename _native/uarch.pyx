"""Static records of instructions: which are executed, what lies beside them, copies of them."""

from libc.stdlib cimport calloc, free
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    WINDOW_SHIFT = 5        # memory renaming tracks pairs, BTBs know branches by 32 bytes of code

cdef extern from *:
    int __builtin_popcount(unsigned int value) noexcept nogil

cdef struct Window:
    uint64_t number         # of 32 bytes of code, plus one; 0: no window
    uint32_t loads
    uint32_t stores
    uint32_t branches       # a bit for each byte in which one begins
    uint32_t pad


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


cdef Window *_window(Window *table, uint64_t mask, uint64_t number) noexcept nogil:
    """The entry of window `number`, made if there is none."""
    cdef uint64_t slot = ((number * 0x9E3779B97F4A7C15ULL) >> 20) & mask
    number += 1
    while table[slot].number and table[slot].number != number:
        slot = (slot + 1) & mask
    table[slot].number = number
    return &table[slot]


def mark_windows(InsnRec[::1] insns, const UopRec[::1] uops, uint32_t limit):
    """Enter what depends on an instruction's neighbours: `DENSE`, `crowd`, `ordinal`.

    An instruction is in the window of 32 bytes that it begins in. `DENSE`: the window has more
    than `limit` loads and as many stores; `crowd` are its branches, `ordinal` is a branch's place
    among them.
    """
    cdef Py_ssize_t n = insns.shape[0], i, u
    cdef uint64_t size = 16
    cdef uint32_t bit
    cdef Window *table
    cdef Window *window
    while size < 2 * <uint64_t>n:
        size *= 2
    for i in range(n):
        if insns[i].first + insns[i].uops > uops.shape[0]:
            raise ValueError("an instruction's uops lie outside the table")
    table = <Window *>calloc(size, sizeof(Window))
    if table == NULL:
        raise MemoryError
    with nogil:
        for i in range(n):
            window = _window(table, size - 1, insns[i].pc >> WINDOW_SHIFT)
            if insns[i].branch != NOT_BRANCH:
                window.branches |= <uint32_t>1 << (insns[i].pc & 31)
            for u in range(insns[i].first, insns[i].first + insns[i].uops):
                window.loads += uops[u].kind == LOAD
                window.stores += uops[u].kind == STORE_DATA
        for i in range(n):
            window = _window(table, size - 1, insns[i].pc >> WINDOW_SHIFT)
            if window.loads > limit and window.stores > limit:
                insns[i].flags |= DENSE
            insns[i].crowd = <uint8_t>__builtin_popcount(window.branches)
            bit = <uint32_t>1 << (insns[i].pc & 31)
            if window.branches & bit:
                insns[i].ordinal = <uint8_t>__builtin_popcount(window.branches & (bit | bit - 1))
        free(table)


def repeat_code(const InsnRec[::1] insns, uint64_t size, InsnRec[::1] copies):
    """Fill `copies` with `insns` again and again, each time `size` bytes further on."""
    cdef Py_ssize_t n = insns.shape[0], i
    cdef uint64_t distance = 0
    if n == 0 or copies.shape[0] % n:
        raise ValueError("not a whole number of copies")
    with nogil:
        for i in range(copies.shape[0]):
            if i and i % n == 0:
                distance += size
            copies[i] = insns[i % n]
            copies[i].pc += distance
