"""Address translation: first-level TLBs, the second level, paging-structure caches.

A translation that no TLB holds is walked: from the lowest level of the page table that a
paging-structure cache still knows, one entry per level, each eight bytes of a line that lies
in the caches like any other. Pages of 4 KB end at the last of `table_levels` levels, of 2 MB
one earlier, of 1 GB two (Intel SDM volume 3, 4.5 and 4.10.3; Arm ARM, D8: 4 KB granule).
"""

from libc.string cimport memset
from libc.stdint cimport int64_t, uint32_t, uint64_t

from tramposim._native.caches cimport (
    LRU, NO_KEY, Cache, Line, cache_close, cache_copy, cache_fill, cache_find, cache_open,
    cache_peek)

cdef enum:
    MOST_WAYS = 16


cdef int _open_full(Cache *cache, int entries) except -1:
    """A fully associative structure."""
    return cache_open(cache, entries, entries, LRU)


cdef int tlbs_open(Tlbs *unit, const TlbParams *params) except -1:
    memset(unit, 0, sizeof(Tlbs))
    if not 3 <= params.table_levels <= TABLE_LEVELS:
        raise ValueError("page tables have 3 to 5 levels")
    unit.table_levels = params.table_levels
    cache_open(&unit.code_small, params.itlb_small_entries, params.itlb_small_ways, LRU)
    cache_open(&unit.code_large, params.itlb_large_entries, params.itlb_large_ways, LRU)
    cache_open(&unit.data_small, params.dtlb_small_entries, params.dtlb_small_ways, LRU)
    cache_open(&unit.data_large, params.dtlb_large_entries, params.dtlb_large_ways, LRU)
    cache_open(&unit.data_huge, params.dtlb_huge_entries, params.dtlb_huge_ways, LRU)
    cache_open(&unit.second, params.stlb_entries, params.stlb_ways, LRU)
    cache_open(&unit.second_huge, params.stlb_huge_entries, params.stlb_huge_ways, LRU)
    _open_full(&unit.directory, params.directory_cache_entries)
    _open_full(&unit.upper, params.upper_cache_entries)
    return 0


cdef void tlbs_close(Tlbs *unit) noexcept nogil:
    cache_close(&unit.code_small)
    cache_close(&unit.code_large)
    cache_close(&unit.data_small)
    cache_close(&unit.data_large)
    cache_close(&unit.data_huge)
    cache_close(&unit.second)
    cache_close(&unit.second_huge)
    cache_close(&unit.directory)
    cache_close(&unit.upper)


cdef int tlbs_copy(Tlbs *to, const Tlbs *source) except -1:
    cache_copy(&to.code_small, &source.code_small)
    cache_copy(&to.code_large, &source.code_large)
    cache_copy(&to.data_small, &source.data_small)
    cache_copy(&to.data_large, &source.data_large)
    cache_copy(&to.data_huge, &source.data_huge)
    cache_copy(&to.second, &source.second)
    cache_copy(&to.second_huge, &source.second_huge)
    cache_copy(&to.directory, &source.directory)
    cache_copy(&to.upper, &source.upper)
    return 0


cdef uint64_t tlbs_key(uint64_t address, int shift) noexcept nogil:
    """Number of the page in the low bits, its size above them."""
    return (address >> shift) | <uint64_t>shift << 56


cdef Cache *tlbs_first(Tlbs *unit, bint code, int shift) noexcept nogil:
    """The first-level TLB for a page of this size.

    A core without a structure for a size keeps such pages in the next smaller one.
    """
    if code:
        if shift >= LARGE_SHIFT and unit.code_large.sets:
            return &unit.code_large
        return &unit.code_small
    if shift >= HUGE_SHIFT and unit.data_huge.sets:
        return &unit.data_huge
    if shift >= LARGE_SHIFT and unit.data_large.sets:
        return &unit.data_large
    return &unit.data_small


cdef Cache *tlbs_second(Tlbs *unit, int shift) noexcept nogil:
    """The second-level TLB for a page of this size."""
    if shift >= HUGE_SHIFT and unit.second_huge.sets:
        return &unit.second_huge
    return &unit.second


cdef uint64_t _entry_line(uint64_t address, int level) noexcept nogil:
    """Line of the page-table entry of `address` at `level` (1: the last), as a cache's key.

    Tables lie somewhere in memory; what matters is that neighbours share lines and tables.
    """
    cdef uint64_t index = (address & 0xFFFFFFFFFFFFULL) >> (SMALL_SHIFT + 9 * (level - 1))
    return <uint64_t>1 << 62 | <uint64_t>level << 52 | index >> 3


cdef int tlbs_tables(const Tlbs *unit, uint64_t address, int shift, uint64_t *lines) noexcept nogil:
    """The lines that a walk for `address` reads, in order; returns how many."""
    cdef int last = 1 + (shift - SMALL_SHIFT) // 9
    cdef int level = unit.table_levels, count = 0
    if last < 2 and cache_peek(&unit.directory, address >> LARGE_SHIFT) != NULL:
        level = 1
    elif last < 3 and cache_peek(&unit.upper, address >> HUGE_SHIFT) != NULL:
        level = 2
    while level >= last:
        lines[count] = _entry_line(address, level)
        count += 1
        level -= 1
    return count


cdef void _remember(Cache *cache, uint64_t key) noexcept nogil:
    cdef uint64_t victim
    if cache_find(cache, key) == NULL:
        cache_fill(cache, key, &victim)


cdef void tlbs_remember(Tlbs *unit, uint64_t address, int shift) noexcept nogil:
    """A walk has passed the upper levels: the paging-structure caches know them."""
    if shift < LARGE_SHIFT:
        _remember(&unit.directory, address >> LARGE_SHIFT)
    if shift < HUGE_SHIFT:
        _remember(&unit.upper, address >> HUGE_SHIFT)
