"""The memory hierarchy that one core sees: caches, TLBs, fill buffers, walks, misses."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tramposim._native.caches cimport Cache, Line
from tramposim._native.tlbs cimport TlbParams, Tlbs

cdef enum:
    LINE_SHIFT = 6
    MOST_FILLS = 64
    MOST_WALKERS = 8

cdef enum Level:
    LEVEL_L1 = 1
    LEVEL_L2 = 2
    LEVEL_L3 = 3
    LEVEL_MEMORY = 4
    LEVEL_REMOTE = 5
    LEVELS = 6

cdef enum MissKind:
    DATA_LINE = 0
    CODE_LINE = 1
    DATA_PAGE = 2                  # level: Found of tlbs
    CODE_PAGE = 3
    BRANCH_TARGET = 4              # level 3: no BTB knew it
    KINDS = 5

cdef packed struct MissRec:
    uint64_t pc                    # of the instruction that missed
    uint64_t address               # of the line, page or branch
    uint32_t wait                  # cycles beyond a hit
    uint8_t kind
    uint8_t level
    uint16_t pad

cdef packed struct PageRange:
    uint64_t start
    uint64_t end
    uint32_t shift
    uint32_t pad

cdef struct CacheParams:
    int l1_latency
    int code_l1_kib
    int code_l1_ways
    int data_l1_kib
    int data_l1_ways
    int l2_kib
    int l2_ways
    int l3_kib
    int l3_ways
    int l1_policy
    int l2_policy
    int l3_policy
    int l2_latency
    int l3_latency
    int memory_latency
    int remote_latency
    int data_fill_buffers
    int code_fill_buffers
    int l2_pair_prefetch
    int code_next_line
    int uop_cache_entries
    int uop_cache_ways
    int uop_cache_window

cdef struct Memory:
    CacheParams params
    TlbParams tlb_params
    Cache code
    Cache data
    Cache l2
    Cache windows                  # of the uop cache
    Cache *l3                      # shared between cores
    Tlbs tlbs
    int64_t data_fills[MOST_FILLS] # cycles in which the fill buffers are free
    int64_t code_fills[MOST_FILLS]
    int64_t walks[MOST_WALKERS]
    uint32_t run
    PageRange *ranges
    int range_count
    MissRec *misses
    int64_t miss_count
    int64_t miss_room
    int64_t counts[KINDS][LEVELS]

cdef int memory_open(Memory *unit, const CacheParams *caches, const TlbParams *tlbs) except -1
cdef void memory_close(Memory *unit) noexcept nogil
cdef int memory_copy(Memory *to, const Memory *source) except -1
cdef void memory_settle(Memory *unit) noexcept nogil
cdef int memory_page_shift(const Memory *unit, uint64_t address) noexcept nogil
cdef int64_t memory_translate(
    Memory *unit, uint64_t address, int size, uint64_t pc, int64_t cycle) noexcept nogil
cdef int64_t memory_data(
    Memory *unit, uint64_t address, int size, uint64_t pc, int64_t cycle) noexcept nogil
cdef int64_t memory_code(Memory *unit, uint64_t line, uint64_t pc, int64_t cycle) noexcept nogil
cdef void memory_miss(
    Memory *unit, int kind, int level, uint64_t pc, uint64_t address, int64_t wait) noexcept nogil
