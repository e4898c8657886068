# cython: language_level=3
"""The calls of a CPU, as the call queue asks for them."""

from libc.stdint cimport int32_t, int64_t, uint64_t

from tramposim._native.rng cimport Xoshiro
from tramposim._native.sharing cimport SharedWrites
from tramposim._native.warmth cimport CallsOf, Passing


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
