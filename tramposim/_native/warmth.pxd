# cython: language_level=3
"""What calls find on a CPU, as the call queue asks for it."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from tramposim._native.callpath cimport CallPath
from tramposim._native.corestate cimport CoreState
from tramposim._native.memory cimport KINDS, LEVELS
from tramposim._native.rng cimport Xoshiro
from tramposim._native.sharing cimport SharedWrites

cdef enum Passed:              # what the background passes through structures, per line
    PASSED_WINDOWS = 0         # of the uop cache
    PASSED_DATA = 1
    PASSED_DATA_PAGES = 2
    PASSED_CODE = 3
    PASSED_CODE_PAGES = 4
    PASSED_LINES = 5           # beyond the first level
    PASSED_PAGES = 6
    PASSED_TABLES = 7          # entries of paging-structure caches
    PASSED = 8

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


cdef class Passing:
    cdef int64_t[PASSED] share         # per line, 2**-16
    cdef int64_t branch_share
    cdef readonly uint64_t rate        # 2**-16 lines per subcycle, in 2**-32
    cdef int64_t footprint
    cdef int64_t upper_btb, btb        # branches that displace its first levels, and all


cdef class CallsOf:
    cdef readonly CallCosts costs
    cdef readonly CoreState state
    cdef Passing passing
    cdef int cpu
    cdef bint alone, full, windows
    cdef int64_t safe_code, safe_data, safe_pages      # lines after which all is found, 2**-16
    cdef int64_t skipped       # lines not yet passed through what first-level hits leave alone
    cdef int64_t[PASSED] rest  # parts of lines and pages, 2**-16
    cdef int64_t[KINDS][LEVELS] found_
    cdef int64_t cycles        # subcycles of all calls
    cdef readonly int64_t executed
    cdef readonly double mispredicts
    cdef int64_t *offsets

    cdef int64_t find(self, int64_t lines, bint first, int64_t function, int stolen) noexcept nogil
    cdef int visits(self, int64_t lines, int64_t branches) noexcept nogil
    cdef void displace(self, int64_t lines, int visits) noexcept nogil
    cdef void _displace_fetched(self, int64_t lines) noexcept nogil
    cdef int64_t _remembered(self, const Lump *lump) noexcept nogil
    cdef void displace_lower(self, int64_t lines) noexcept nogil
    cdef uint64_t _take(self, int kind, int64_t lines) noexcept nogil
    cdef int64_t _offset(self, int64_t region, int64_t function) noexcept nogil
    cdef void _steal(self, int64_t function, int stolen) noexcept nogil
    cdef void _count(self) noexcept nogil
    cdef int64_t _execute(self, Lump *lump, int64_t function, bint disturbed) noexcept nogil


cdef class CpuCalls:
    cdef readonly CallsOf traced, untraced
    cdef Passing passing
    cdef Xoshiro random
    cdef int64_t functions, scatter
    cdef int depth, fanout
    cdef uint64_t recursion    # chance (2**-64) that a nested call is of the caller itself
    cdef uint64_t *chances     # of staying with the drawn function (alias method)
    cdef int32_t *aliases
    cdef int64_t calls
    cdef int64_t last          # when the last call of any function ended; -1: never
    cdef int64_t *log          # costs of the first calls
    cdef int64_t logged
    cdef int64_t extra         # lines that other tasks passed since the last call, 2**-16
    cdef readonly SharedWrites shared

    cdef int64_t price(self, int64_t start) noexcept nogil
    cdef int64_t tree(self, int64_t start, int level, int64_t caller) noexcept nogil
    cdef int64_t draw(self, int64_t caller) noexcept nogil
    cdef int64_t one(self, int64_t start, int64_t function) noexcept nogil
    cdef void displaced(self, int64_t time, uint64_t rate) noexcept nogil
