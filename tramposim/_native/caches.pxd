"""Set-associative arrays of keys: caches, TLBs, paging-structure caches, uop caches."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum Policy:
    LRU = 0
    TREE_PLRU = 1

cdef uint64_t NO_KEY

cdef struct Line:
    uint64_t key                   # NO_KEY: empty
    int64_t ready                  # cycle of run `run` in which its content is there
    uint64_t stamp                 # foreign lines that the cache had taken in at the last touch
    uint32_t age                   # the cache's clock at the last touch
    uint32_t epoch                 # of the cache when it came; older ones are gone
    uint32_t run                   # the run that brought it in; there since long in later ones
    uint32_t remote                # another CPU has written it since

cdef struct Cache:
    Line *lines
    uint32_t *trees                # tree-PLRU: one bit per node of a set's tree
    int sets                       # 0: the core has no such structure
    int ways
    int policy
    bint hashed                    # sets are numbered by a hash of the key
    uint32_t clock
    uint32_t epoch
    uint64_t foreign               # lines of others taken in so far, evenly over the sets
    uint64_t distinct              # they are these many, over and over; 0: all different

cdef int cache_open(Cache *cache, int64_t entries, int ways, int policy) except -1
cdef void cache_close(Cache *cache) noexcept nogil
cdef int cache_copy(Cache *to, const Cache *source) except -1
cdef Line *cache_find(Cache *cache, uint64_t key) noexcept nogil
cdef Line *cache_peek(const Cache *cache, uint64_t key) noexcept nogil
cdef Line *cache_fill(Cache *cache, uint64_t key, uint64_t *victim) noexcept nogil
cdef bint cache_drop(Cache *cache, uint64_t key) noexcept nogil
cdef void cache_empty(Cache *cache) noexcept nogil
