# cython: language_level=3
"""The queue of one task's calls, as other native modules use it."""

from libc.stdint cimport int64_t, uint64_t

from tramposim._native.arrivals cimport Source
from tramposim._native.eventlog cimport EventLog
from tramposim._native.histogram cimport LatencyHistogram
from tramposim._native.cpucalls cimport CpuCalls

ctypedef struct FlowState:
    Source source
    int64_t next_arrival
    int64_t service
    int64_t called              # part of it that the traced call takes


cdef class CallQueue:
    cdef FlowState *flows
    cdef int n_flows
    cdef list histograms        # by flow: where its completed calls are counted
    cdef list sources           # keeps alive what the flows' sources point into
    cdef int serving            # flow in service, or -1
    cdef int64_t arrival        # when the call in service arrived
    cdef int64_t remaining      # service that it still needs
    cdef int64_t called         # of that, what the traced calls took in all
    cdef int64_t wanted         # service that it needed in all
    cdef readonly int64_t busy
    cdef readonly int64_t clock
    cdef CpuCalls found         # what calls find on the CPU that runs the queue; None: nothing
    cdef EventLog log           # of what the queue's requests do; None: is not kept
    cdef int number             # of the task, in the log
    cdef int cpu
    cdef bint moved             # to that CPU from another
    cdef readonly bint competes # makes no traced calls
    cdef readonly bint yields   # to a task that calls and has just got work
    cdef bint sleeps            # had no work when it last gave up the CPU
    cdef uint64_t lines         # that it passes while it runs, 2**-48 a subcycle

    cpdef int64_t run(self, int64_t now, int64_t until, bint stop_when_idle=*) except -1
    cpdef bint runnable_at(self, int64_t time) noexcept
    cdef int64_t upcoming(self) noexcept nogil
    cdef int64_t wakes(self, int64_t now) noexcept nogil
    cdef int first(self) noexcept nogil
    cpdef void on(self, CpuCalls found, int cpu=*) noexcept
    cdef void note(self, int64_t end, bint done) noexcept nogil
    cdef bint begin(self, int64_t until, bint stop_when_idle) noexcept nogil
    cdef void serve(
        self, LatencyHistogram histogram, int64_t until, bint stop_when_idle
    ) noexcept nogil
