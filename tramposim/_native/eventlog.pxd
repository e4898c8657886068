# cython: language_level=3
"""A log of what CPUs do, as the modules write it that let them run."""

from libc.stdint cimport int32_t, int64_t

cpdef enum What:
    REQUEST = 0         # a call with the work around it, or a part of that
    COMPETING = 1       # work of a task that makes no calls
    TICK = 2
    INTERRUPT = 3
    SWITCH = 4

cdef struct Event:
    int64_t begin, end          # subcycles
    int64_t arrival             # of the request
    int64_t into                # service that the request has had before
    int64_t called              # its first part, spent in the traced calls
    int32_t what, cpu
    int32_t number              # of the task, or of the kind of interrupt
    int32_t done                # the request ends here


cdef class EventLog:
    cdef Event *events
    cdef readonly Py_ssize_t room
    cdef Py_ssize_t count
    cdef readonly bint full

    cdef Event *add(self, int what, int cpu, int number, int64_t begin, int64_t end) noexcept nogil
