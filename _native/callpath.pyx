# cython: language_level=3
"""What one call touches, looked up in and passed through a CPU's caches without timing it.

A `CallPath` holds the windows of code, lines of data and taken branches of a call in the order
in which it touches each for the first and for the last time. `look` tells where all of that is,
`go` leaves caches, TLBs and branch targets as the call leaves them: fills, replacement, walks
and prefetches are those of `memory.pyx`, only nobody waits for them: each place is asked for when
all before it is there.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from tramposim._native.caches cimport Cache, cache_fill, cache_find, cache_peek
from tramposim._native.corestate cimport CoreState
from tramposim._native.memory cimport (
    BRANCH_TARGET, LINE_SHIFT, memory_code, memory_data, memory_page_shift, memory_settle,
    memory_translate)
from tramposim._native.predictors cimport btb_has, btb_touch
from tramposim._native.tlbs cimport tlbs_first, tlbs_key

PLACE_KINDS = ("code", "data", "branch")
SEEN_NAMES = (
    "windows in L1", "windows in L2", "windows in L3", "windows in memory",
    "windows on another CPU", "lines in L2", "lines in L3", "lines in memory",
    "lines on another CPU",
    "code pages in the second TLB", "code walks in L2", "code walks in L3",
    "code walks in memory",
    "data pages in the second TLB", "data walks in L2", "data walks in L3",
    "data walks in memory",
    "branches in the main BTB", "branches in the last BTB", "branches unknown",
)
"""What `seen` counts."""

cdef enum:
    MOST_PLACES = 1 << 16
    MOST_PAGES = 4096
    PAGE_WORDS = 64                # a bit per page
    MOST_REGIONS = 64
    ALL_THERE = 1 << 16            # cycles within which any line is there


cdef class CallPath:
    """The places of one call; see the module's text.

    Arrays of equal length: `kinds` (index into `PLACE_KINDS`), `addresses`, `pages` (numbers of
    the pages that they lie on, from 0; of branches without meaning) and `regions`: places of
    region r are moved by `offsets[r]` bytes, those of region 0 are where they are. `again`: the
    place came before.
    """

    def __cinit__(self):
        self.places = NULL

    def __init__(self, const uint8_t[::1] kinds, const uint64_t[::1] addresses,
                 const int32_t[::1] pages, const uint8_t[::1] regions,
                 const uint8_t[::1] again):
        cdef Py_ssize_t i, n = kinds.shape[0]
        if self.places != NULL:
            raise ValueError("a path is made once")
        if (not n == addresses.shape[0] == pages.shape[0] == regions.shape[0] == again.shape[0]
                or n > MOST_PLACES):
            raise ValueError("arrays of places differ in length, or are too long")
        self.places = <Place *>malloc(sizeof(Place) * (n + 1))
        if self.places == NULL:
            raise MemoryError
        self.regions = 1
        for i in range(n):
            if kinds[i] > BRANCH_PLACE or not 0 <= pages[i] < MOST_PAGES:
                raise ValueError("a place's kind or page is out of range")
            if regions[i] >= MOST_REGIONS:
                raise ValueError("a place's region is out of range")
            self.places[i].address = addresses[i]
            self.places[i].page = pages[i]
            self.places[i].kind = kinds[i]
            self.places[i].region = regions[i]
            self.places[i].again = again[i] != 0
            self.places[i].contended = False
            if regions[i] >= self.regions:
                self.regions = regions[i] + 1
        self.count = <int>n

    def __dealloc__(self):
        free(self.places)

    def __len__(self):
        return self.count

    cdef void contend(self, uint64_t address, int region) noexcept nogil:
        """Other CPUs write the line at `address` of a region."""
        cdef int i
        for i in range(self.count):
            if (self.places[i].region == region
                    and self.places[i].address >> LINE_SHIFT == address >> LINE_SHIFT):
                self.places[i].contended = True

    def safe(self, CoreState state not None):
        """How much may pass through the first level before a call can miss anything there.

        (Windows of code, lines of data, pages of code, pages of data): after that many of
        others all places that a call just touched are found, wherever the others fall.
        """
        cdef int64_t[4] found
        cdef int i
        self._safe(state, found)
        return tuple(found[i] for i in range(4))

    cdef void _safe(self, CoreState state, int64_t *found) noexcept nogil:
        cdef int i, shift
        cdef const Place *place
        for i in range(4):
            found[i] = <int64_t>1 << 40
        for i in range(self.count):
            place = &self.places[i]
            shift = memory_page_shift(&state.memory, place.address)
            if place.kind == CODE_PLACE:
                if state.memory.windows.sets:
                    self._narrow(&found[0], &state.memory.windows, place, _window_shift(state))
                else:
                    self._narrow(&found[0], &state.memory.code, place, LINE_SHIFT)
                self._narrow(&found[2], tlbs_first(&state.memory.tlbs, True, shift), place, shift)
            elif place.kind == DATA_PLACE:
                self._narrow(&found[1], &state.memory.data, place, LINE_SHIFT)
                self._narrow(&found[3], tlbs_first(&state.memory.tlbs, False, shift), place, shift)

    cdef void _narrow(self, int64_t *most, const Cache *cache, const Place *place,
                      int shift) noexcept nogil:
        """Foreign lines that leave `place` in its set, whichever sets they begin with."""
        cdef int i, j, others = 0
        cdef uint64_t key = place.address >> shift, other
        cdef bint again
        cdef int64_t room
        if cache.sets == 0:
            most[0] = 0
            return
        for i in range(self.count):
            other = self.places[i].address >> shift
            if (self.places[i].kind != place.kind or other == key
                    or other % <uint64_t>cache.sets != key % <uint64_t>cache.sets):
                continue
            again = False
            for j in range(i):
                if (self.places[j].kind == place.kind
                        and self.places[j].address >> shift == other):
                    again = True
                    break
            others += not again
        room = (<int64_t>cache.ways - others - 1) * cache.sets
        if room < most[0]:
            most[0] = room if room > 0 else 0

    def seen(self, CoreState state not None, const int64_t[::1] offsets):
        """Numbers of places that are not in the first level, as `SEEN_NAMES` names them."""
        cdef int[SEEN] found
        cdef int i
        if offsets.shape[0] < self.regions:
            raise ValueError("an offset for every region")
        self.look(state, &offsets[0], VISIT_ALL, found)
        return [found[i] for i in range(<int>SEEN)]

    def pass_through(self, CoreState state not None, const int64_t[::1] offsets):
        """Leave the state as the call leaves it."""
        if offsets.shape[0] < self.regions:
            raise ValueError("an offset for every region")
        self.go(state, &offsets[0], VISIT_ALL)

    cdef void look(self, CoreState state, const int64_t *offsets, int visits,
                   int *seen) noexcept nogil:
        """Count where everything is that a call is about to touch, of the kinds in `visits`."""
        cdef int i, level, window = _window_shift(state)
        cdef uint64_t address
        cdef uint64_t[PAGE_WORDS] code_pages, data_pages
        cdef const Place *place
        memset(seen, 0, sizeof(int) * SEEN)
        memset(code_pages, 0, sizeof(code_pages))
        memset(data_pages, 0, sizeof(data_pages))
        for i in range(self.count):
            place = &self.places[i]
            if place.again:
                continue
            address = place.address + <uint64_t>offsets[place.region]
            if place.kind == CODE_PLACE:
                if not visits & VISIT_CODE:
                    continue
                if cache_peek(&state.memory.windows, address >> window) != NULL:
                    continue
                level = state._line_level(&state.memory.code, address >> LINE_SHIFT)
                if level > 1 or state.memory.windows.sets:
                    seen[CODE_SEEN + level - 1] += 1
                _see_page(state, True, address, place.page, code_pages, &seen[<int>CODE_PAGE_SEEN])
            elif place.kind == DATA_PLACE:
                if _visits_data(place, visits):
                    level = state._line_level(&state.memory.data, address >> LINE_SHIFT)
                    if level > 1:
                        seen[DATA_SEEN + level - 2] += 1
                if visits & VISIT_PAGES:
                    _see_page(state, False, address, place.page, data_pages,
                              &seen[<int>DATA_PAGE_SEEN])
            elif visits & VISIT_BRANCHES and not btb_has(&state.predictors.fast, address):
                if btb_has(&state.predictors.main, address):
                    seen[<int>BRANCH_SEEN] += 1
                else:
                    seen[BRANCH_SEEN + (
                        1 if btb_has(&state.predictors.last_level, address) else 2)] += 1

    cdef void go(self, CoreState state, const int64_t *offsets, int visits) noexcept nogil:
        """Touch everything of the kinds in `visits`, in order."""
        cdef int i, window = _window_shift(state)
        cdef uint64_t address, victim
        cdef bint known
        cdef const Place *place
        cdef int64_t cycle = 0
        memory_settle(&state.memory)
        for i in range(self.count):
            place = &self.places[i]
            address = place.address + <uint64_t>offsets[place.region]
            if place.kind == CODE_PLACE:
                if not visits & VISIT_CODE:
                    continue
                if state.memory.windows.sets:
                    if cache_find(&state.memory.windows, address >> window) != NULL:
                        continue
                    cache_fill(&state.memory.windows, address >> window, &victim)
                memory_code(&state.memory, address >> LINE_SHIFT, address, cycle)
            elif place.kind == DATA_PLACE:
                if visits & VISIT_PAGES:
                    memory_translate(&state.memory, address, 1, address, cycle)
                if _visits_data(place, visits):
                    memory_data(&state.memory, address, 1, address, cycle)
            elif visits & VISIT_BRANCHES:
                known = btb_touch(&state.predictors.fast, address)
                known |= btb_touch(&state.predictors.main, address)
                if not known and not btb_touch(&state.predictors.last_level, address):
                    state.memory.counts[<int>BRANCH_TARGET][3] += 1
            cycle += ALL_THERE


cdef inline bint _visits_data(const Place *place, int visits) noexcept nogil:
    return visits & VISIT_DATA or (place.contended and visits & VISIT_CONTENDED)


cdef int _window_shift(CoreState state) noexcept nogil:
    cdef int shift = 0
    while (1 << shift) < state.memory.params.uop_cache_window:
        shift += 1
    return shift


cdef void _see_page(CoreState state, bint code, uint64_t address, int page,
                    uint64_t *pages, int *seen) noexcept nogil:
    """Count a page once."""
    cdef int level
    cdef uint64_t bit = <uint64_t>1 << (page & 63)
    if pages[page >> 6] & bit:
        return
    pages[page >> 6] |= bit
    level = state._page_level(code, address)
    if level < 2:
        return
    # beyond the second TLB: 3 and 4 read L1 or L2, then L3, then memory (or another CPU)
    seen[0 if level == 2 else 1 if level <= 4 else 2 if level == 5 else 3] += 1
