# cython: language_level=3
"""Lines that calls on several CPUs write, as other native modules ask for them."""

from libc.stdint cimport int64_t

from tramposim._native.rng cimport Xoshiro

cdef enum Groups:
    EVERY_CALL = 0      # lines that calls on every CPU write
    BUCKETS = 1         # of hash maps: what threads with keys near this one's write
    TASK = 2            # what belongs to the thread: elsewhere once it has come from another CPU
    GROUPS = 3


cdef class SharedWrites:
    cdef double[2] rates        # per subcycle: writes of other CPUs to a group's lines
    cdef int64_t[2] waits       # for lines that several CPUs want, subcycles
    cdef int64_t[3] stolen      # calls that found a group's lines on another CPU
    cdef readonly int64_t waited
    cdef int64_t then           # when the last call began
    cdef bint called            # whether there was one
    cdef bint moved             # the next call's thread comes from another CPU

    cdef int lost(self, int64_t now, Xoshiro *random) noexcept nogil
    cdef int64_t wait(self, int lost) noexcept nogil
