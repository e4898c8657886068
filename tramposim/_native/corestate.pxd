"""What a core keeps from call to call: caches, TLBs, branch predictors."""

from libc.stdint cimport uint64_t

from tramposim._native.caches cimport Cache
from tramposim._native.fetch cimport FetchParams
from tramposim._native.memory cimport Memory
from tramposim._native.predictors cimport Predictors

cdef class LastLevel:
    cdef Cache cache

cdef class CoreState:
    cdef Memory memory
    cdef Predictors predictors
    cdef FetchParams fetch
    cdef readonly LastLevel last_level
    cdef object params
    cdef Cache *_cache(self, str name) except? NULL
    cdef int _line_level(self, const Cache *first, uint64_t line) noexcept nogil
    cdef int _page_level(self, bint code, uint64_t address) noexcept nogil
