# cython: language_level=3
"""What calls find on a CPU."""

from libc.stdint cimport int64_t, uint64_t

from tramposim._native.callcosts cimport CallCosts, Lump
from tramposim._native.corestate cimport CoreState
from tramposim._native.memory cimport KINDS, LEVELS

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
