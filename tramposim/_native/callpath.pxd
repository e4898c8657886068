# cython: language_level=3
"""What one call touches, looked up in and passed through a CPU's caches without timing it."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from tramposim._native.caches cimport Cache
from tramposim._native.corestate cimport CoreState

cdef enum PlaceKind:
    CODE_PLACE = 0
    DATA_PLACE = 1
    BRANCH_PLACE = 2

cdef enum Visit:               # what of a call's places is looked at and touched
    VISIT_CODE = 1
    VISIT_DATA = 2
    VISIT_PAGES = 4            # of data
    VISIT_BRANCHES = 8
    VISIT_ALL = 15
    VISIT_CONTENDED = 16       # those of the data that other CPUs write, too

cdef enum Seen:                # what a look counts, each followed by the next farther level
    CODE_SEEN = 0              # windows that the uop cache lacks: line in L1, ... , other CPU
    DATA_SEEN = 5              # lines in L2, ..., other CPU
    CODE_PAGE_SEEN = 9         # pages in the second TLB; walks reading L2, L3, memory
    DATA_PAGE_SEEN = 13
    BRANCH_SEEN = 17           # taken branches in the main BTB, in the last, in none
    SEEN = 20

cdef struct Place:
    uint64_t address
    int32_t page               # number of its page among the call's
    uint8_t kind
    uint8_t region             # it lies in: 0 is where it is, others move
    bint again                 # the call has touched it before
    bint contended             # other CPUs write its line


cdef class CallPath:
    cdef Place *places
    cdef int count
    cdef readonly int regions
    cdef void contend(self, uint64_t address, int region) noexcept nogil
    cdef void _safe(self, CoreState state, int64_t *found) noexcept nogil
    cdef void _narrow(self, int64_t *most, const Cache *cache, const Place *place,
                      int shift) noexcept nogil
    cdef void look(self, CoreState state, const int64_t *offsets, int visits,
                   int *seen) noexcept nogil
    cdef void go(self, CoreState state, const int64_t *offsets, int visits) noexcept nogil
