# cython: language_level=3
"""Costs of calls by signature, as the calls of a CPU ask for them."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from tramposim._native.callpath cimport CallPath
from tramposim._native.corestate cimport CoreState

cdef enum:
    MOST_CALLS = 4096          # of one arrival
    SUBCYCLES = 1 << 16
    QUICK = 2                  # lumps without a key: nothing is missing

cdef struct Lump:              # calls of one signature
    uint64_t[2] key
    int64_t uses
    int64_t samples            # of them were executed
    int64_t cost               # mean of those, subcycles
    double mean
    double squares             # sum of squared deviations from the mean
    double deviation           # of one call
    double mispredicts         # of all samples


cdef class CallCosts:
    cdef readonly object failure
    cdef readonly CallPath path
    cdef object execute
    cdef const int64_t[::1] fixed, by_function, by_cpu
    cdef const int64_t[:, ::1] contended       # address, region, group
    cdef Lump *lumps           # the first two: nothing missing, history as left and disturbed
    cdef int32_t *table        # numbers of lumps by hash of the key, -1: none
    cdef int64_t count, room, slots
    cdef double spread         # sum of uses times deviation of all lumps
    cdef double spent          # cycles of all calls so far
    cdef double tolerance

    cdef Lump *lump_of(self, const int *seen, bint disturbed) noexcept nogil
    cdef bint wants(self, Lump *lump) noexcept nogil
    cdef void learn(self, Lump *lump, double cycles, double mispredicts) noexcept nogil
    cdef int grow(self) noexcept nogil
    cdef double ask(self, CoreState state, int64_t function, int cpu, bint disturbed,
                    double *mispredicts) noexcept with gil
