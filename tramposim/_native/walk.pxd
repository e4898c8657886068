"""The way through an executed order: each position's instruction, accesses and successor."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from tramposim._native.uarch cimport FUSED_HEAD, AccessRec, InsnRec, UopRec

cdef struct Walk:
    const InsnRec *insns
    const UopRec *uops
    const int32_t *order
    const AccessRec *accesses
    Py_ssize_t length
    Py_ssize_t access_count
    Py_ssize_t access              # the first one not passed
    int64_t upcoming               # its position, `length` if there is none

cdef struct Position:
    const InsnRec *insn
    const UopRec *uops
    int32_t number                 # of the static instruction
    uint64_t next_pc
    const AccessRec *access        # NULL: none
    int access_count


cdef inline void walk_to_access(Walk *walk, Py_ssize_t access) noexcept nogil:
    """The next access to be passed is number `access`."""
    walk.access = access
    walk.upcoming = walk.length
    if access < walk.access_count:
        walk.upcoming = walk.accesses[access].insn


cdef inline void walk_begin(
    Walk *walk, const InsnRec[::1] insns, const UopRec[::1] uops, const int32_t[::1] order,
    const AccessRec[::1] accesses
) noexcept:
    """Stand before the first of `order`, which is not empty."""
    walk.insns = &insns[0]
    walk.uops = &uops[0] if uops.shape[0] else NULL
    walk.order = &order[0]
    walk.accesses = &accesses[0] if accesses.shape[0] else NULL
    walk.length = order.shape[0]
    walk.access_count = accesses.shape[0]
    walk_to_access(walk, 0)


cdef inline void _pass_accesses(
    Walk *walk, const InsnRec *insn, int64_t i, Position *at
) noexcept nogil:
    """Give position `i` the accesses up to it, but for those of earlier positions.

    What a fused instruction accesses, the branch that it is fused into does.
    """
    cdef bint fused = i > 0 and walk.insns[walk.order[i - 1]].flags & FUSED_HEAD
    cdef Py_ssize_t first = walk.access, end
    while first < walk.access_count and walk.accesses[first].insn + fused < <uint32_t>i:
        first += 1
    end = first
    if not insn.flags & FUSED_HEAD:
        while end < walk.access_count and walk.accesses[end].insn <= <uint32_t>i:
            end += 1
    if end > first:
        at.access = &walk.accesses[first]
        at.access_count = <int>(end - first)
    walk_to_access(walk, end)


cdef inline void walk_step(Walk *walk, Py_ssize_t i, Position *at) noexcept nogil:
    """What position `i`, the one after the last, executes; the last leads to the first."""
    cdef Py_ssize_t following = i + 1 if i + 1 < walk.length else 0
    at.number = walk.order[i]
    at.insn = &walk.insns[at.number]
    at.uops = walk.uops + at.insn.first
    at.next_pc = walk.insns[walk.order[following]].pc
    at.access = NULL
    at.access_count = 0
    if walk.upcoming <= i:
        _pass_accesses(walk, at.insn, i, at)
