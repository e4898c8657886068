"""Address translation: first-level TLBs, the second level, paging-structure caches."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from tramposim._native.caches cimport Cache

cdef enum:
    SMALL_SHIFT = 12
    LARGE_SHIFT = 21
    HUGE_SHIFT = 30
    TABLE_LEVELS = 5               # page tables may be that deep

cdef enum Found:
    FIRST_LEVEL = 1
    SECOND_LEVEL = 2
    WALK = 3

cdef struct TlbParams:
    int itlb_small_entries
    int itlb_small_ways
    int itlb_large_entries
    int itlb_large_ways
    int dtlb_small_entries
    int dtlb_small_ways
    int dtlb_large_entries
    int dtlb_large_ways
    int dtlb_huge_entries
    int dtlb_huge_ways
    int stlb_entries
    int stlb_ways
    int stlb_huge_entries
    int stlb_huge_ways
    int stlb_latency
    int walkers
    int walk_level
    int walk_latency
    int table_levels
    int directory_cache_entries
    int upper_cache_entries

cdef struct Tlbs:
    Cache code_small
    Cache code_large
    Cache data_small
    Cache data_large
    Cache data_huge
    Cache second                   # small and large pages
    Cache second_huge
    Cache directory                # entries that point to last-level tables, by 2 MB
    Cache upper                    # entries that point to page directories, by 1 GB
    int table_levels

cdef int tlbs_open(Tlbs *unit, const TlbParams *params) except -1
cdef void tlbs_close(Tlbs *unit) noexcept nogil
cdef int tlbs_copy(Tlbs *to, const Tlbs *source) except -1
cdef uint64_t tlbs_key(uint64_t address, int shift) noexcept nogil
cdef Cache *tlbs_first(Tlbs *unit, bint code, int shift) noexcept nogil
cdef Cache *tlbs_second(Tlbs *unit, int shift) noexcept nogil
cdef int tlbs_tables(const Tlbs *unit, uint64_t address, int shift, uint64_t *lines) noexcept nogil
cdef void tlbs_remember(Tlbs *unit, uint64_t address, int shift) noexcept nogil
