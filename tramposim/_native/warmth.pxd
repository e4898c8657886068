# cython: language_level=3
"""What calls find on a CPU, as the call queue asks for it."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from tramposim._native.rng cimport Xoshiro


cdef class CallCosts:
    cdef readonly int levels
    cdef readonly int64_t own_lines
    cdef readonly bint alone
    cdef readonly int missing, walking
    cdef readonly object failure
    cdef object fill
    cdef const int64_t[::1] limits
    cdef int64_t *costs             # [stolen][first][second][third level], subcycles; 0: unknown

    cdef int level(self, int64_t age) noexcept nogil
    cdef int64_t look_up(self, int64_t cell) noexcept nogil
    cdef int64_t ask(self, int64_t cell) noexcept with gil


cdef class CpuCalls:
    cdef CallCosts traced, untraced
    cdef int64_t *uses
    cdef int64_t *untraced_uses
    cdef Xoshiro random
    cdef uint64_t rate              # 2**-16 lines per subcycle, in 2**-32
    cdef int64_t footprint          # most lines of the background, 2**-16
    cdef int64_t functions
    cdef int depth
    cdef uint64_t *chances          # of staying with the drawn function (alias method)
    cdef int32_t *aliases
    cdef int64_t *ended             # when each function's last call ended; -1: never called
    cdef int64_t *counted           # calls on this CPU before that
    cdef int64_t refreshed          # when a call last fetched what first-level hits leave alone
    cdef int64_t walked             # when a call last walked page tables
    cdef int64_t calls
    cdef int64_t last               # when the last call of any function ended; -1: never
    cdef public double others       # calls per subcycle of other CPUs that write shared lines
    cdef readonly int64_t stolen    # calls that found shared lines on another CPU

    cdef int64_t price(self, int64_t start) noexcept nogil
    cdef int64_t one(self, int64_t start) noexcept nogil
    cdef int64_t age(self, int64_t elapsed) noexcept nogil
