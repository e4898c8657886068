"""The memory hierarchy that one core sees: caches, TLBs, fill buffers, page walks.

Every access moves the state of the structures at once and gets the cycle in which its line
is there; a later access to a line still under way waits for that same cycle. Misses overlap as
far as there are fill buffers (and page walkers); each level's latency is that of a dependent
load from its address to its use, as measured by pointer chasing. A walk's reads go through the
data caches (from the level that the core's walker asks first), so that page tables compete for
room with everything else.
"""

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset
from libc.stdint cimport int64_t, uint32_t, uint64_t

from tramposim._native.caches cimport (
    NO_KEY, Cache, Line, cache_close, cache_copy, cache_fill, cache_find, cache_open,
    cache_peek)
from tramposim._native.tlbs cimport (
    FIRST_LEVEL, SECOND_LEVEL, SMALL_SHIFT, TABLE_LEVELS, WALK, tlbs_close, tlbs_copy,
    tlbs_first, tlbs_key, tlbs_open, tlbs_remember, tlbs_second, tlbs_tables)

cdef enum:
    MOST_MISSES = 1 << 20          # records kept; more are counted only


cdef int memory_open(Memory *unit, const CacheParams *caches, const TlbParams *tlbs) except -1:
    memset(unit, 0, sizeof(Memory))
    unit.params = caches[0]
    unit.tlb_params = tlbs[0]
    unit.run = 1
    if not (1 <= caches.data_fill_buffers <= MOST_FILLS
            and 1 <= caches.code_fill_buffers <= MOST_FILLS
            and 1 <= tlbs.walkers <= MOST_WALKERS and 1 <= tlbs.walk_level <= 2):
        raise ValueError("fill buffers, page walkers or their level are out of range")
    cache_open(&unit.code, caches.code_l1_kib << 4, caches.code_l1_ways, caches.l1_policy)
    cache_open(&unit.data, caches.data_l1_kib << 4, caches.data_l1_ways, caches.l1_policy)
    cache_open(&unit.l2, caches.l2_kib << 4, caches.l2_ways, caches.l2_policy)
    cache_open(&unit.windows, caches.uop_cache_entries, caches.uop_cache_ways, 0)
    tlbs_open(&unit.tlbs, tlbs)
    return 0


cdef void memory_close(Memory *unit) noexcept nogil:
    cache_close(&unit.code)
    cache_close(&unit.data)
    cache_close(&unit.l2)
    cache_close(&unit.windows)
    tlbs_close(&unit.tlbs)
    free(unit.ranges)
    free(unit.misses)
    unit.ranges = NULL
    unit.misses = NULL


cdef int memory_copy(Memory *to, const Memory *source) except -1:
    """Make `to`, of the same core, hold what `source` holds; the last level is not copied."""
    cdef PageRange *ranges
    if source.range_count != to.range_count:
        ranges = <PageRange *>realloc(to.ranges, sizeof(PageRange) * (source.range_count + 1))
        if ranges == NULL:
            raise MemoryError
        to.ranges = ranges
        to.range_count = source.range_count
    memcpy(to.ranges, source.ranges, sizeof(PageRange) * to.range_count)
    cache_copy(&to.code, &source.code)
    cache_copy(&to.data, &source.data)
    cache_copy(&to.l2, &source.l2)
    cache_copy(&to.windows, &source.windows)
    tlbs_copy(&to.tlbs, &source.tlbs)
    to.run = source.run
    memory_settle(to)
    return 0


cdef void memory_settle(Memory *unit) noexcept nogil:
    """All that is under way has arrived; cycles count anew."""
    unit.run += 1
    memset(unit.data_fills, 0, sizeof(unit.data_fills))
    memset(unit.code_fills, 0, sizeof(unit.code_fills))
    memset(unit.walks, 0, sizeof(unit.walks))


cdef void memory_miss(
    Memory *unit, int kind, int level, uint64_t pc, uint64_t address, int64_t wait
) noexcept nogil:
    """Count a miss and keep its record."""
    cdef int64_t room
    cdef MissRec *misses
    unit.counts[kind][level] += 1
    if unit.miss_count >= unit.miss_room:
        room = 2 * unit.miss_room + 256
        if room > MOST_MISSES:
            return
        misses = <MissRec *>realloc(unit.misses, sizeof(MissRec) * room)
        if misses == NULL:
            return
        unit.misses = misses
        unit.miss_room = room
    misses = &unit.misses[unit.miss_count]
    unit.miss_count += 1
    misses.pc = pc
    misses.address = address
    misses.wait = <uint32_t>wait if wait > 0 else 0
    misses.kind = kind
    misses.level = level
    misses.pad = 0


cdef inline int64_t _there(const Memory *unit, const Line *line, int64_t cycle) noexcept nogil:
    """Cycle, not before `cycle`, in which the content of `line` is there."""
    if line.run == unit.run and line.ready > cycle:
        return line.ready
    return cycle


cdef inline int64_t *_first_free(int64_t *buffers, int count) noexcept nogil:
    cdef int i, best = 0
    for i in range(1, count):
        if buffers[i] < buffers[best]:
            best = i
    return &buffers[best]


cdef void _put(Memory *unit, Cache *cache, uint64_t line, int64_t ready) noexcept nogil:
    cdef uint64_t victim
    cdef Line *found = cache_find(cache, line)
    if found == NULL:
        found = cache_fill(cache, line, &victim)
    if found != NULL:
        found.ready = ready
        found.run = unit.run


cdef int64_t _beyond_l1(
    Memory *unit, uint64_t line, int64_t cycle, int *level
) noexcept nogil:
    """When a line that the first level lacks is there, asked for by an access at `cycle`."""
    cdef Line *found = cache_find(&unit.l2, line)
    cdef Line *shared = cache_find(unit.l3, line) if unit.l3 != NULL else NULL
    cdef int64_t ready
    if shared != NULL and shared.remote:
        shared.remote = 0
        level[0] = LEVEL_REMOTE
        ready = cycle + unit.params.remote_latency
    elif found != NULL:
        level[0] = LEVEL_L2
        return _there(unit, found, cycle + unit.params.l2_latency)
    elif shared != NULL:
        level[0] = LEVEL_L3
        ready = _there(unit, shared, cycle + unit.params.l3_latency)
    else:
        level[0] = LEVEL_MEMORY
        ready = cycle + unit.params.memory_latency
        if unit.l3 != NULL:
            _put(unit, unit.l3, line, ready)
    _put(unit, &unit.l2, line, ready)
    if unit.params.l2_pair_prefetch and cache_peek(&unit.l2, line ^ 1) == NULL:
        # The other line of the pair of 128 bytes comes along, from where it is.
        shared = cache_find(unit.l3, line ^ 1) if unit.l3 != NULL else NULL
        if shared == NULL:
            _put(unit, &unit.l2, line ^ 1, cycle + unit.params.memory_latency)
            if unit.l3 != NULL:
                _put(unit, unit.l3, line ^ 1, cycle + unit.params.memory_latency)
        elif not shared.remote:
            _put(unit, &unit.l2, line ^ 1, _there(unit, shared, cycle + unit.params.l3_latency))
    return ready


cdef int64_t _data_line(
    Memory *unit, uint64_t line, uint64_t pc, int64_t cycle
) noexcept nogil:
    """When data of `line` can be used by a load that issues at `cycle`."""
    cdef int64_t hit = cycle + unit.params.l1_latency
    cdef int64_t start, ready
    cdef int64_t *buffer
    cdef int level = LEVEL_L1
    cdef Line *found = cache_find(&unit.data, line)
    if found != NULL:
        return _there(unit, found, hit)
    buffer = _first_free(unit.data_fills, unit.params.data_fill_buffers)
    start = cycle if buffer[0] <= cycle else buffer[0]
    ready = _beyond_l1(unit, line, start, &level)
    buffer[0] = ready
    _put(unit, &unit.data, line, ready)
    memory_miss(unit, DATA_LINE, level, pc, line << LINE_SHIFT, ready - hit)
    return ready


cdef int memory_page_shift(const Memory *unit, uint64_t address) noexcept nogil:
    """Log2 of the size of the page that `address` lies in; 4 KB outside all known ranges."""
    cdef int low = 0, high = unit.range_count, middle
    while low < high:
        middle = (low + high) // 2
        if unit.ranges[middle].end <= address:
            low = middle + 1
        else:
            high = middle
    if low < unit.range_count and unit.ranges[low].start <= address:
        return unit.ranges[low].shift
    return SMALL_SHIFT


cdef int64_t _walk(Memory *unit, uint64_t address, int shift, int64_t cycle) noexcept nogil:
    """When a page walk that is asked for at `cycle` has the translation."""
    cdef uint64_t[TABLE_LEVELS] lines
    cdef int count = tlbs_tables(&unit.tlbs, address, shift, lines), i, level
    cdef int64_t *walker = _first_free(unit.walks, unit.tlb_params.walkers)
    cdef Line *found
    cdef int64_t ready
    cycle = (cycle if walker[0] <= cycle else walker[0]) + unit.tlb_params.walk_latency
    for i in range(count):
        found = cache_find(&unit.data, lines[i]) if unit.tlb_params.walk_level == 1 else NULL
        if found != NULL:
            cycle = _there(unit, found, cycle + unit.params.l1_latency)
            continue
        ready = _beyond_l1(unit, lines[i], cycle, &level)
        if unit.tlb_params.walk_level == 1:
            _put(unit, &unit.data, lines[i], ready)
        cycle = ready
    walker[0] = cycle
    tlbs_remember(&unit.tlbs, address, shift)
    return cycle


cdef int64_t _translation(
    Memory *unit, bint code, uint64_t address, uint64_t pc, int64_t cycle
) noexcept nogil:
    """When the translation of `address`, asked for at `cycle`, is there (a hit: at once)."""
    cdef int shift = memory_page_shift(unit, address)
    cdef uint64_t key = tlbs_key(address, shift)
    cdef Cache *first = tlbs_first(&unit.tlbs, code, shift)
    cdef Cache *second
    cdef Line *found = cache_find(first, key)
    cdef int64_t ready
    cdef int level = SECOND_LEVEL
    if found != NULL:
        return _there(unit, found, cycle)
    second = tlbs_second(&unit.tlbs, shift)
    found = cache_find(second, key)
    ready = cycle + unit.tlb_params.stlb_latency
    if found != NULL:
        ready = _there(unit, found, ready)
    else:
        level = WALK
        ready = _walk(unit, address, shift, ready)
        _put(unit, second, key, ready)
    _put(unit, first, key, ready)
    memory_miss(unit, CODE_PAGE if code else DATA_PAGE, level, pc,
                address >> shift << shift, ready - cycle)
    return ready


cdef int64_t memory_translate(
    Memory *unit, uint64_t address, int size, uint64_t pc, int64_t cycle
) noexcept nogil:
    """When the translation of all bytes of a data access at `cycle` is there."""
    cdef int64_t ready = _translation(unit, False, address, pc, cycle), second
    cdef uint64_t last = address + <uint64_t>(size - 1 if size > 0 else 0)
    if (last ^ address) >> SMALL_SHIFT:
        second = _translation(unit, False, last, pc, cycle)
        if second > ready:
            ready = second
    return ready


cdef int64_t memory_data(
    Memory *unit, uint64_t address, int size, uint64_t pc, int64_t cycle
) noexcept nogil:
    """When a translated access at `cycle` has all its bytes in the first-level data cache."""
    cdef uint64_t line = address >> LINE_SHIFT
    cdef uint64_t last = (address + <uint64_t>(size - 1 if size > 0 else 0)) >> LINE_SHIFT
    cdef int64_t ready = _data_line(unit, line, pc, cycle), second
    if last != line:
        second = _data_line(unit, last, pc, cycle)
        if second > ready:
            ready = second
    return ready


cdef int64_t memory_code(
    Memory *unit, uint64_t line, uint64_t pc, int64_t cycle
) noexcept nogil:
    """When the bytes of code line `line`, asked for at `cycle`, are there (a hit: at once)."""
    cdef int64_t ready = _translation(unit, True, line << LINE_SHIFT, pc, cycle)
    cdef Line *found = cache_find(&unit.code, line)
    cdef int64_t *buffer
    cdef int64_t start = ready
    cdef int level = LEVEL_L1, i
    if found != NULL:
        ready = _there(unit, found, ready)
    else:
        buffer = _first_free(unit.code_fills, unit.params.code_fill_buffers)
        if buffer[0] > start:
            start = buffer[0]
        # Latencies are from address to use: a hit's part of them is in the pipeline already.
        ready = _beyond_l1(unit, line, start, &level) - unit.params.l1_latency
        buffer[0] = ready
        _put(unit, &unit.code, line, ready)
        memory_miss(unit, CODE_LINE, level, pc, line << LINE_SHIFT, ready - cycle)
    for i in range(1, unit.params.code_next_line + 1):
        if cache_peek(&unit.code, line + i) == NULL:
            buffer = _first_free(unit.code_fills, unit.params.code_fill_buffers)
            if buffer[0] <= cycle:
                buffer[0] = (_beyond_l1(unit, line + i, start, &level)
                             - unit.params.l1_latency)
                _put(unit, &unit.code, line + i, buffer[0])
    return ready
