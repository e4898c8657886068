"""Set-associative arrays of keys with their replacement: the one structure behind caches,
TLBs, paging-structure caches and the uop cache.

A line is found if it is among the `ways` lines of its set touched last (LRU), or as long as
the tree of a tree-PLRU set has not chosen it. Lines of other code and data need not be
entered one by one: `foreign` counts them, spread evenly over the sets and never touched again,
so that a line is gone when the foreign lines of its set since its last touch (`distinct` in all
sets at most) and the younger lines beside it fill the ways. That is exact for LRU (Mattson's stack distance, IBM Systems
Journal 9(2), 1970) and makes eviction by background work cost nothing.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from libc.stdint cimport int64_t, uint32_t, uint64_t

NO_KEY = 0xFFFFFFFFFFFFFFFFULL


cdef int cache_open(Cache *cache, int64_t entries, int ways, int policy) except -1:
    memset(cache, 0, sizeof(Cache))
    cache.epoch = 1
    if entries == 0:
        return 0
    if ways < 1 or ways > 4096 or entries < ways or entries % ways or entries > 1 << 26:
        raise ValueError("a cache's entries are a multiple of its ways")
    if policy != LRU and (policy != TREE_PLRU or ways > 32):
        raise ValueError("unknown replacement policy, or a tree of more than 32 ways")
    cache.sets = <int>(entries // ways)
    cache.ways = ways
    cache.policy = policy
    cache.lines = <Line *>calloc(entries, sizeof(Line))
    if cache.lines == NULL:
        raise MemoryError
    if policy == TREE_PLRU:
        cache.trees = <uint32_t *>calloc(cache.sets, sizeof(uint32_t))
        if cache.trees == NULL:
            raise MemoryError
    return 0


cdef void cache_close(Cache *cache) noexcept nogil:
    free(cache.lines)
    free(cache.trees)
    memset(cache, 0, sizeof(Cache))


cdef int cache_copy(Cache *to, const Cache *source) except -1:
    """Make `to`, of the same shape, hold what `source` holds."""
    cdef Line *lines = to.lines
    cdef uint32_t *trees = to.trees
    if to.sets != source.sets or to.ways != source.ways or to.policy != source.policy:
        raise ValueError("caches of different shape")
    to[0] = source[0]
    to.lines = lines
    to.trees = trees
    if source.sets:
        memcpy(lines, source.lines, sizeof(Line) * <size_t>source.sets * source.ways)
        if trees != NULL:
            memcpy(trees, source.trees, sizeof(uint32_t) * <size_t>source.sets)
    return 0


cdef inline int _set_of(const Cache *cache, uint64_t key) noexcept nogil:
    """Low bits of the key where they number the sets, else a remainder; of its hash if hashed."""
    if cache.hashed:
        key ^= key >> 16 ^ key >> 24 ^ key >> 40
    if cache.sets & (cache.sets - 1) == 0:
        return <int>(key & <uint64_t>(cache.sets - 1))
    return <int>(key % <uint64_t>cache.sets)


cdef inline uint64_t _foreign_in(const Cache *cache, int number, uint64_t total) noexcept nogil:
    """How many of `total` foreign lines fell into set `number`."""
    # A prime multiple: the sets take turns in some order, each once in `sets` lines.
    cdef uint64_t turn = <uint64_t>number * 2654435761ULL % <uint64_t>cache.sets
    return (total + turn) // <uint64_t>cache.sets


cdef bint _alive(const Cache *cache, int number, const Line *line) noexcept nogil:
    """Whether a line with a key is still there."""
    cdef const Line *set_lines = &cache.lines[<int64_t>number * cache.ways]
    cdef uint64_t since
    cdef int way
    if line.epoch != cache.epoch:
        return False
    if line.stamp == cache.foreign:
        return True
    since = _foreign_in(cache, number, cache.foreign) - _foreign_in(cache, number, line.stamp)
    if cache.distinct and since > cache.distinct // <uint64_t>cache.sets + 1:
        since = _foreign_in(cache, number, cache.distinct)
    for way in range(cache.ways):
        if set_lines[way].epoch == cache.epoch and set_lines[way].age > line.age:
            since += 1
    return since < <uint64_t>cache.ways


cdef void _point_away(Cache *cache, int number, int way) noexcept nogil:
    """Tree-PLRU: every node on the way's path points to the other half."""
    cdef uint32_t tree = cache.trees[number]
    cdef int low = 0, high = cache.ways, node = 1, middle
    while high - low > 1:
        middle = (low + high + 1) // 2
        if way < middle:
            tree |= <uint32_t>1 << (node & 31)
            high = middle
            node = 2 * node
        else:
            tree &= ~(<uint32_t>1 << (node & 31))
            low = middle
            node = 2 * node + 1
    cache.trees[number] = tree


cdef int _pointed_at(const Cache *cache, int number) noexcept nogil:
    """Tree-PLRU: the way to which the nodes lead (a set bit: the upper half)."""
    cdef uint32_t tree = cache.trees[number]
    cdef int low = 0, high = cache.ways, node = 1, middle
    while high - low > 1:
        middle = (low + high + 1) // 2
        if tree >> (node & 31) & 1:
            low = middle
            node = 2 * node + 1
        else:
            high = middle
            node = 2 * node
    return low


cdef inline void _touch(Cache *cache, int number, int way, Line *line) noexcept nogil:
    cache.clock += 1
    line.age = cache.clock
    line.stamp = cache.foreign
    if cache.policy == TREE_PLRU:
        _point_away(cache, number, way)


cdef Line *cache_find(Cache *cache, uint64_t key) noexcept nogil:
    """The line of `key`, from now on the newest of its set; NULL if it is not there."""
    cdef int number, way
    cdef Line *line
    if cache.sets == 0:
        return NULL
    number = _set_of(cache, key)
    line = &cache.lines[<int64_t>number * cache.ways]
    for way in range(cache.ways):
        if line.key == key and line.epoch == cache.epoch:
            if not _alive(cache, number, line):
                line.epoch = 0
                return NULL
            _touch(cache, number, way, line)
            return line
        line += 1
    return NULL


cdef Line *cache_peek(const Cache *cache, uint64_t key) noexcept nogil:
    """The line of `key`, its age unchanged; NULL if it is not there."""
    cdef int number, way
    cdef Line *line
    if cache.sets == 0:
        return NULL
    number = _set_of(cache, key)
    line = &cache.lines[<int64_t>number * cache.ways]
    for way in range(cache.ways):
        if line.key == key and _alive(cache, number, line):
            return line
        line += 1
    return NULL


cdef Line *cache_fill(Cache *cache, uint64_t key, uint64_t *victim) noexcept nogil:
    """Take in `key`, which is not there; `victim` is what it replaces, NO_KEY if nothing.

    NULL if the cache has no lines.
    """
    cdef int number, way, chosen = -1
    cdef uint32_t oldest = 0xFFFFFFFF
    cdef Line *lines
    cdef Line *line
    victim[0] = NO_KEY
    if cache.sets == 0:
        return NULL
    number = _set_of(cache, key)
    lines = &cache.lines[<int64_t>number * cache.ways]
    for way in range(cache.ways):
        if not _alive(cache, number, &lines[way]):
            chosen = way
            break
        if lines[way].age < oldest:
            oldest = lines[way].age
            chosen = way
    line = &lines[chosen]
    if _alive(cache, number, line):
        if cache.policy == TREE_PLRU:
            chosen = _pointed_at(cache, number)
            line = &lines[chosen]
        victim[0] = line.key
    line.key = key
    line.epoch = cache.epoch
    line.ready = 0
    line.run = 0
    line.remote = 0
    _touch(cache, number, chosen, line)
    return line


cdef bint cache_drop(Cache *cache, uint64_t key) noexcept nogil:
    """Remove the line of `key`; False if it was not there."""
    cdef Line *line = cache_peek(cache, key)
    if line == NULL:
        return False
    line.epoch = 0
    return True


cdef void cache_empty(Cache *cache) noexcept nogil:
    """Remove all lines."""
    cache.epoch += 1
