# cython: language_level=3
"""What calls find on a CPU, as the call queue asks for it."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from tramposim._native.rng cimport Xoshiro
from tramposim._native.sharing cimport SharedWrites


cdef enum:
    AGES = 4

cdef enum Refreshed:
    LINES = 1           # the call fetched lines: what it has beyond the first level is new
    CODE_PAGES = 2      # it looked up code pages beyond the first TLB
    TABLES = 4          # it walked page tables


cdef class CallCosts:
    cdef int[AGES] levels
    cdef readonly int64_t own_lines
    cdef readonly bint alone
    cdef readonly int groups
    cdef readonly object failure
    cdef object fill
    cdef list limits
    cdef const int64_t *limit[AGES]
    cdef int64_t *costs             # [stolen groups][level of each age], subcycles; 0: unknown
    cdef unsigned char *refreshes   # by cell: what the call brought in anew

    cdef int64_t cell(self, int stolen, const int64_t *ages) noexcept nogil
    cdef int64_t look_up(self, int64_t cell) noexcept nogil
    cdef void ask(self, int64_t cell) noexcept with gil


cdef class CpuCalls:
    cdef CallCosts traced, untraced
    cdef int64_t *uses
    cdef int64_t *untraced_uses
    cdef Xoshiro random
    cdef uint64_t rate              # 2**-16 lines per subcycle, in 2**-32
    cdef int64_t footprint          # most lines of the background, 2**-16
    cdef int64_t functions
    cdef int depth, fanout
    cdef uint64_t recursion         # chance (2**-64) that a nested call is of the caller itself
    cdef uint64_t *chances          # of staying with the drawn function (alias method)
    cdef int32_t *aliases
    cdef int64_t *ended             # when each function's last call ended; -1: never called
    cdef int64_t *counted           # calls on this CPU before that
    cdef int64_t[3] renewed         # when a call last did each of `Refreshed`
    cdef int64_t calls
    cdef int64_t last               # when the last call of any function ended; -1: never
    cdef int64_t skew               # of those times against the clock: other tasks' lines
    cdef readonly SharedWrites shared

    cdef int64_t price(self, int64_t start) noexcept nogil
    cdef int64_t tree(self, int64_t start, int level, int64_t caller) noexcept nogil
    cdef int64_t draw(self, int64_t caller) noexcept nogil
    cdef int64_t one(self, int64_t start, int64_t function) noexcept nogil
    cdef void displaced(self, int64_t time, uint64_t rate) noexcept nogil
    cdef int64_t age(self, int64_t elapsed) noexcept nogil
