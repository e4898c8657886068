"""Instructions that reach beyond the program: the clock, the CPU's number, what a guest may not."""

from libc.stdint cimport uint64_t

from tramposim._native.tracer cimport TraceState

cdef uint64_t clock_now(const TraceState* state) noexcept nogil
cdef int system_hooks_install(TraceState* state, const int* instructions) noexcept nogil
