"""Segments of an executed order, between two marks: whether two of them are the same."""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcmp

from tramposim._native.uarch cimport FUSED_HEAD, AccessRec, InsnRec


cdef inline Py_ssize_t first_access(
    const AccessRec[::1] accesses, int64_t position
) noexcept nogil:
    """Index of the first access at `position` or later."""
    cdef Py_ssize_t low = 0, high = accesses.shape[0], middle
    while low < high:
        middle = (low + high) // 2
        if <int64_t>accesses[middle].insn < position:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline bint alike(
    const InsnRec[::1] insns, const int32_t[::1] order, const AccessRec[::1] accesses,
    const int64_t[::1] marks, Py_ssize_t a, Py_ssize_t b
) noexcept nogil:
    """Whether segments `a` and `b` execute the same and go on to the same instruction."""
    cdef Py_ssize_t n = order.shape[0], i, j
    cdef int64_t begin = marks[a], other = marks[b]
    cdef int64_t length = marks[a + 1] - begin
    cdef const AccessRec *x
    cdef const AccessRec *y
    if a == b:
        return True
    if marks[b + 1] - other != length:
        return False
    # An access of an instruction fused into the next segment's first is in neither.
    if ((begin and insns[order[begin - 1]].flags & FUSED_HEAD)
            or (other and insns[order[other - 1]].flags & FUSED_HEAD)):
        return False
    if memcmp(&order[begin], &order[other], length * sizeof(int32_t)):
        return False
    if order[(begin + length) % n] != order[(other + length) % n]:
        return False
    i = first_access(accesses, begin)
    j = first_access(accesses, other)
    n = accesses.shape[0]
    while i < n and accesses[i].insn < <uint64_t>(begin + length):
        x = &accesses[i]
        y = &accesses[j]
        if (j >= n or x.insn - begin != y.insn - other or x.address != y.address
                or x.size != y.size or x.flags != y.flags):
            return False
        i += 1
        j += 1
    return j >= n or accesses[j].insn >= <uint64_t>(other + length)
