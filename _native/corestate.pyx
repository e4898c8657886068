"""What a core keeps from call to call: caches, TLBs, branch predictors.

A `CoreState` belongs to one CPU; pipelines that execute on that CPU share it, one after the
other. CPUs share a `LastLevel`. What a scenario touches is given as arrays of addresses: the
state can tell where each is (`signature`), bring it in (`touch`), lose it (`drop`) or have it
written by another CPU (`steal`).
"""

from libc.stdlib cimport malloc
from libc.string cimport memcpy, memset
from libc.stdint cimport int64_t, uint8_t, uint64_t

from tramposim._native.caches cimport (
    Cache, Line, cache_close, cache_copy, cache_drop, cache_empty, cache_fill, cache_find,
    cache_open, cache_peek)
from tramposim._native.fetch cimport FetchParams
from tramposim._native.memory cimport (
    KINDS, LEVEL_L1, LEVEL_L2, LEVEL_L3, LEVEL_MEMORY, LEVEL_REMOTE, LEVELS, LINE_SHIFT,
    CacheParams, MissRec, PageRange, memory_close, memory_copy, memory_open,
    memory_page_shift, memory_settle)
from tramposim._native.predictors cimport (
    TARGET_BITS, Target, btb_empty, btb_has, btb_touch, predictors_close, predictors_copy,
    predictors_disturb, predictors_forget, predictors_open)
from tramposim._native.tlbs cimport (
    FIRST_LEVEL, SECOND_LEVEL, SMALL_SHIFT, TABLE_LEVELS, TlbParams, tlbs_first, tlbs_key,
    tlbs_remember, tlbs_second, tlbs_tables)
from tramposim._native.uarch cimport CoreParams

KINDS_OF_MISS = ("data line", "code line", "data page", "code page", "branch target")
"""What a miss record's `kind` numbers."""

_STRUCTURES = {
    "code": ("code",), "data": ("data",), "l2": ("l2",), "l3": ("l3",), "uops": ("uops",),
    "itlb": ("itlb small", "itlb large"),
    "dtlb": ("dtlb small", "dtlb large", "dtlb huge"),
    "stlb": ("stlb", "stlb huge"),
    "walk caches": ("directory", "upper"),
}


cdef class LastLevel:
    """The last-level cache that CPUs share.

    Its sets are numbered by a hash of the address, as those of sliced caches are, so that what
    lies at the same place of each CPU's memory does not compete for one set.
    """

    def __init__(self, dict params):
        cdef CacheParams sizes = params
        cache_close(&self.cache)
        cache_open(&self.cache, <int64_t>sizes.l3_kib << 4, sizes.l3_ways, sizes.l3_policy)
        self.cache.hashed = True

    def __dealloc__(self):
        cache_close(&self.cache)


cdef class CoreState:
    """Caches, TLBs and predictors of one CPU, empty at first.

    `params` are a core's parameters by name, `ranges` tuples (start, end, log2 of the page
    size) in ascending order (4 KB outside them), `last_level` the cache shared with other CPUs
    (one of its own if None). Raises `ValueError` for parameters that make no structure.
    """

    def __init__(self, dict params, ranges=(), LastLevel last_level=None):
        cdef CacheParams caches = params
        cdef TlbParams tlbs = params
        cdef CoreParams core = params
        if self.params is not None:
            raise ValueError("a state is made once")
        self.fetch = params
        self.params = params
        memory_open(&self.memory, &caches, &tlbs)
        predictors_open(&self.predictors, &core)
        self.last_level = LastLevel(params) if last_level is None else last_level
        self.memory.l3 = &self.last_level.cache
        self._set_ranges(ranges)

    def _set_ranges(self, ranges):
        cdef PageRange *table = <PageRange *>malloc(sizeof(PageRange) * (len(ranges) + 1))
        cdef uint64_t before = 0
        if table == NULL:
            raise MemoryError
        self.memory.ranges = table
        for start, end, shift in ranges:
            if end < start or start < before or not SMALL_SHIFT <= shift <= 39:
                raise ValueError("page ranges overlap, are out of order or of no size")
            before = end
            table[self.memory.range_count].start = start
            table[self.memory.range_count].end = end
            table[self.memory.range_count].shift = shift
            self.memory.range_count += 1

    def __dealloc__(self):
        self.memory.l3 = NULL
        memory_close(&self.memory)
        predictors_close(&self.predictors)

    cdef Cache *_cache(self, str name) except? NULL:
        cdef Cache *found = NULL
        if name == "code":
            found = &self.memory.code
        elif name == "data":
            found = &self.memory.data
        elif name == "l2":
            found = &self.memory.l2
        elif name == "l3":
            found = self.memory.l3
        elif name == "uops":
            found = &self.memory.windows
        elif name == "itlb small":
            found = &self.memory.tlbs.code_small
        elif name == "itlb large":
            found = &self.memory.tlbs.code_large
        elif name == "dtlb small":
            found = &self.memory.tlbs.data_small
        elif name == "dtlb large":
            found = &self.memory.tlbs.data_large
        elif name == "dtlb huge":
            found = &self.memory.tlbs.data_huge
        elif name == "stlb":
            found = &self.memory.tlbs.second
        elif name == "stlb huge":
            found = &self.memory.tlbs.second_huge
        elif name == "directory":
            found = &self.memory.tlbs.directory
        elif name == "upper":
            found = &self.memory.tlbs.upper
        else:
            raise ValueError(f"no structure is called {name!r}")
        return found

    def evict(self, str structure) -> None:
        """Empty a structure.

        Caches: code, data, l2, l3, uops; TLBs: itlb, dtlb, stlb, "walk caches"; branches:
        "upper btb" (all levels but the last), btb, history (outcomes and return stack), predictors (all).
        """
        if structure == "upper btb":
            btb_empty(&self.predictors.fast)
            btb_empty(&self.predictors.main)
        elif structure == "btb":
            btb_empty(&self.predictors.fast)
            btb_empty(&self.predictors.main)
            btb_empty(&self.predictors.last_level)
        elif structure == "history":
            predictors_disturb(&self.predictors)
        elif structure == "predictors":
            predictors_forget(&self.predictors)
            predictors_disturb(&self.predictors)
        else:
            for name in _STRUCTURES.get(structure, (structure,)):
                cache_empty(self._cache(name))

    def displace(self, str structure, int64_t entries) -> None:
        """Let `entries` lines (or pages) of others pass through a cache or TLB, spread evenly.

        Costs the same for any number; see `caches.pyx`.
        """
        cdef Cache *cache
        if entries < 0 or entries > 1 << 48:
            raise ValueError("a number of lines is not negative")
        for name in _STRUCTURES.get(structure, (structure,)):
            cache = self._cache(name)
            cache.foreign += <uint64_t>entries

    def limit(self, str structure, int64_t entries) -> None:
        """The lines (or pages) of others are only so many different ones, over and over."""
        if not 1 <= entries <= 1 << 48:
            raise ValueError("others have at least one line")
        for name in _STRUCTURES.get(structure, (structure,)):
            self._cache(name).distinct = <uint64_t>entries

    def exchange(self, CoreState other not None) -> None:
        """Swap caches, TLBs and branch targets with those of another state of the same core.

        Directions, histories and indirect targets stay: what is learnt is not moved. Callers
        swap back.
        """
        if self.params is not other.params and self.params != other.params:
            raise ValueError("states of different cores")
        self.memory, other.memory = other.memory, self.memory
        self.predictors.fast, other.predictors.fast = other.predictors.fast, self.predictors.fast
        self.predictors.main, other.predictors.main = other.predictors.main, self.predictors.main
        self.predictors.last_level, other.predictors.last_level = (
            other.predictors.last_level, self.predictors.last_level)

    def drop(self, const uint64_t[::1] addresses) -> None:
        """Remove the lines at `addresses` from every cache, as clflush does."""
        cdef Py_ssize_t i
        cdef uint64_t line
        cdef int shift = 0
        while (1 << shift) < self.memory.params.uop_cache_window:
            shift += 1
        for i in range(addresses.shape[0]):
            line = addresses[i] >> LINE_SHIFT
            cache_drop(&self.memory.code, line)
            cache_drop(&self.memory.data, line)
            cache_drop(&self.memory.l2, line)
            cache_drop(self.memory.l3, line)
            if shift:
                for at in range(0, 64, 1 << shift):
                    cache_drop(&self.memory.windows, ((line << LINE_SHIFT) + at) >> shift)

    def steal(self, const uint64_t[::1] addresses) -> None:
        """Another CPU has written the lines at `addresses`: they must be fetched from it."""
        cdef Py_ssize_t i
        cdef uint64_t line, victim
        cdef Line *found
        for i in range(addresses.shape[0]):
            line = addresses[i] >> LINE_SHIFT
            cache_drop(&self.memory.code, line)
            cache_drop(&self.memory.data, line)
            cache_drop(&self.memory.l2, line)
            found = cache_find(self.memory.l3, line)
            if found == NULL:
                found = cache_fill(self.memory.l3, line, &victim)
            if found != NULL:
                found.remote = 1

    def settle(self) -> None:
        """Time has passed: all that was under way has arrived."""
        memory_settle(&self.memory)

    def copy(self) -> CoreState:
        """A state of its own with the same content, sharing the last level."""
        cdef CoreState made = CoreState.__new__(CoreState)
        made.__init__(self.params, (), self.last_level)
        made.restore(self)
        return made

    def restore(self, CoreState saved) -> None:
        """Take over what `saved`, of the same core, holds (the last level stays)."""
        memory_copy(&self.memory, &saved.memory)
        predictors_copy(&self.predictors, &saved.predictors)

    cdef int _line_level(self, const Cache *first, uint64_t line) noexcept nogil:
        cdef Line *shared = cache_peek(self.memory.l3, line)
        if shared != NULL and shared.remote:
            return LEVEL_REMOTE
        if cache_peek(first, line) != NULL:
            return LEVEL_L1
        if cache_peek(&self.memory.l2, line) != NULL:
            return LEVEL_L2
        return LEVEL_L3 if shared != NULL else LEVEL_MEMORY

    cdef int _page_level(self, bint code, uint64_t address) noexcept nogil:
        cdef int shift = memory_page_shift(&self.memory, address)
        cdef uint64_t key = tlbs_key(address, shift)
        cdef uint64_t[TABLE_LEVELS] tables
        cdef int count, i, level, worst = LEVEL_L1
        if cache_peek(tlbs_first(&self.memory.tlbs, code, shift), key) != NULL:
            return FIRST_LEVEL
        if cache_peek(tlbs_second(&self.memory.tlbs, shift), key) != NULL:
            return SECOND_LEVEL
        count = tlbs_tables(&self.memory.tlbs, address, shift, tables)
        for i in range(count):
            level = self._line_level(&self.memory.data, tables[i])
            if level > worst:
                worst = level
        return SECOND_LEVEL + worst

    def levels(self, str kind, const uint64_t[::1] addresses) -> bytes:
        """Where each address is, one byte per address.

        `kind` "data" or "code": level of its line (1 L1, 2 L2, 3 L3, 4 memory, 5 written by
        another CPU); "data page" or "code page": 1 first-level TLB, 2 second, beyond it 2 plus
        the farthest level from which a walk has to read; "branch":
        level of the BTB (0 fast, 1 main, 2 last, 3 none); "uops": 1 if its window is in the uop cache.
        """
        cdef Py_ssize_t i, n = addresses.shape[0]
        cdef bytearray made = bytearray(n)
        cdef uint8_t[::1] found = made
        cdef int shift = 0
        if kind == "data" or kind == "code":
            for i in range(n):
                found[i] = self._line_level(
                    &self.memory.code if kind == "code" else &self.memory.data,
                    addresses[i] >> LINE_SHIFT)
        elif kind == "data page" or kind == "code page":
            for i in range(n):
                found[i] = self._page_level(kind == "code page", addresses[i])
        elif kind == "branch":
            for i in range(n):
                if btb_has(&self.predictors.fast, addresses[i]):
                    found[i] = 0
                elif btb_has(&self.predictors.main, addresses[i]):
                    found[i] = 1
                else:
                    found[i] = 2 if btb_has(&self.predictors.last_level, addresses[i]) else 3
        elif kind == "uops":
            while (1 << shift) < self.memory.params.uop_cache_window:
                shift += 1
            for i in range(n):
                found[i] = cache_peek(&self.memory.windows, addresses[i] >> shift) != NULL
        else:
            raise ValueError(f"no kind of address is called {kind!r}")
        return bytes(made)

    def touch(self, str kind, const uint64_t[::1] addresses) -> None:
        """Make each address one that was used just now; kinds as for `levels`, and "l3": by
        another CPU of the last-level cache."""
        cdef Py_ssize_t i
        cdef int shift = 0, size, count, table
        cdef uint64_t line
        cdef uint64_t[TABLE_LEVELS] tables
        if kind == "uops":
            while (1 << shift) < self.memory.params.uop_cache_window:
                shift += 1
        for i in range(addresses.shape[0]):
            line = addresses[i] >> LINE_SHIFT
            if kind == "data" or kind == "code":
                _bring(&self.memory.code if kind == "code" else &self.memory.data, line, False)
                _bring(&self.memory.l2, line, True)
                _bring(self.memory.l3, line, True)
            elif kind == "data page" or kind == "code page":
                size = memory_page_shift(&self.memory, addresses[i])
                if self._page_level(kind == "code page", addresses[i]) > SECOND_LEVEL:
                    count = tlbs_tables(&self.memory.tlbs, addresses[i], size, tables)
                    for table in range(count):
                        if self.memory.tlb_params.walk_level == 1:
                            _bring(&self.memory.data, tables[table], False)
                        _bring(&self.memory.l2, tables[table], False)
                        _bring(self.memory.l3, tables[table], False)
                line = tlbs_key(addresses[i], size)
                _bring(tlbs_first(&self.memory.tlbs, kind == "code page", size), line, False)
                _bring(tlbs_second(&self.memory.tlbs, size), line, True)
                tlbs_remember(&self.memory.tlbs, addresses[i], size)
            elif kind == "branch":
                btb_touch(&self.predictors.fast, addresses[i])
                btb_touch(&self.predictors.main, addresses[i])
                btb_touch(&self.predictors.last_level, addresses[i])
            elif kind == "uops":
                _bring(&self.memory.windows, addresses[i] >> shift, False)
            elif kind == "l3":
                _bring(self.memory.l3, line, False)
            else:
                raise ValueError(f"no kind of address is called {kind!r}")

    def misses(self) -> bytes:
        """The misses since `clear`, packed (`MissRec`)."""
        return (<const char *>self.memory.misses)[:sizeof(MissRec) * self.memory.miss_count]

    def counts(self) -> list:
        """Misses since `clear`, by kind and level."""
        cdef int kind, level
        return [[self.memory.counts[kind][level] for level in range(<int>LEVELS)]
                for kind in range(<int>KINDS)]

    def clear(self) -> None:
        """Forget the records of misses; the state stays."""
        self.memory.miss_count = 0
        memset(self.memory.counts, 0, sizeof(self.memory.counts))


cdef void _bring(Cache *cache, uint64_t key, bint keep_age) noexcept nogil:
    """Have `key` in a cache; a lower level is not asked for what it holds already."""
    cdef uint64_t victim
    cdef Line *found = cache_peek(cache, key) if keep_age else cache_find(cache, key)
    if found == NULL:
        found = cache_fill(cache, key, &victim)
    if found != NULL:
        found.remote = 0

