# cython: language_level=3
"""What calls find on one CPU: its state carried from call to call, costs by signature.

Each CPU has the caches, TLBs and branch targets of the core model. Between two calls the
background passes lines, pages and branches through them; each call touches what it touches.
Where everything is that a call is about to touch is the call's signature: numbers of lines and
pages by the level that holds them, of branches by the level of the BTB that knows them, and
whether other code has run since. Calls of one signature are executed on the core model, in the
very state that they find, as often as their number and the spread of their costs demand; the
others cost the mean of those, and only leave the state as an executed call leaves it.

Where one function is traced, structures of the first level through which too little passed to
displace anything need no look: what passed is forgotten, because every place there is new again.
Calls that follow each other closely cost a comparison.
"""

from libc.stdlib cimport calloc, free
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from tramposim._native.caches cimport Line, cache_drop, cache_fill, cache_find
from tramposim._native.callcosts cimport SUBCYCLES, CallCosts, Lump
from tramposim._native.callpath cimport (
    SEEN, VISIT_ALL, VISIT_BRANCHES, VISIT_CODE, VISIT_CONTENDED, VISIT_DATA, VISIT_PAGES)
from tramposim._native.corestate cimport CoreState
from tramposim._native.memory cimport KINDS, LEVELS, LINE_SHIFT
from tramposim._native.predictors cimport btb_empty


cdef class Passing:
    """The background: `rate` lines per subcycle (2**-48), of `footprint` different lines.

    `shares` say how much of it the structures of `Passed` see per line, `branch_share` how many
    taken branches a line has (both 2**-16); more than `upper_btb` (`btb`) of them between two
    calls displace the first levels (all) of the branch targets.
    """

    def __init__(self, uint64_t rate, int64_t footprint, shares not None, int64_t branch_share,
                 int64_t upper_btb, int64_t btb):
        cdef int i
        if len(shares) != PASSED:
            raise ValueError(f"{PASSED} shares")
        for i in range(<int>PASSED):
            if not 0 <= shares[i] <= 1 << 16:
                raise ValueError("a share of a line is 0 to 1")
            self.share[i] = shares[i]
        if not 0 <= branch_share <= 1 << 20 or not 0 <= footprint <= 1 << 40:
            raise ValueError("branches per line or footprint out of range")
        self.branch_share = branch_share
        self.rate = rate
        self.footprint = footprint
        self.upper_btb = upper_btb
        self.btb = btb


cdef class CallsOf:
    """The calls of one scenario on one CPU: the state that they find, what they cost.

    `cpus` share the last level of `state`. `alone`: all calls are of one function. `full`: every
    call is executed, and nothing is learnt from it.
    """

    def __cinit__(self):
        self.offsets = NULL

    def __init__(self, CallCosts costs not None, CoreState state not None,
                 Passing passing not None, int cpu, int cpus, bint alone, bint full):
        if self.offsets != NULL:
            raise ValueError("made once")
        self.costs = costs
        self.state = state
        self.passing = passing
        self.cpu = cpu
        self.alone = alone
        self.full = full
        self.windows = state.memory.windows.sets != 0
        self.offsets = <int64_t *>calloc(costs.path.regions, sizeof(int64_t))
        if self.offsets == NULL:
            raise MemoryError
        self._safe()
        self._limit(cpus)

    def __dealloc__(self):
        free(self.offsets)

    def _safe(self):
        """How much background may pass after a call before the next one must be looked at."""
        code, data, code_pages, data_pages = self.costs.path.safe(self.state)
        self.safe_code = self._lines(PASSED_WINDOWS, code)
        if not self.windows:
            self.safe_code = min(self.safe_code, self._lines(PASSED_CODE_PAGES, code_pages))
        self.safe_data = self._lines(PASSED_DATA, data)
        self.safe_pages = self._lines(PASSED_DATA_PAGES, data_pages)

    def _lines(self, int kind, int64_t room):
        """Lines of background (2**-16) of which at most `room` pass through a structure."""
        share = self.passing.share[kind]
        # one less: the rest of an earlier line may complete another one
        return max(0, ((room - 1) << 32) // share) if share else 1 << 60

    def _limit(self, int cpus):
        cdef const int64_t *share = self.passing.share
        for name, kind, times in (
            ("code", PASSED_CODE, 1), ("uops", PASSED_WINDOWS, 1), ("data", PASSED_DATA, 1),
            ("itlb", PASSED_CODE_PAGES, 1), ("dtlb", PASSED_DATA_PAGES, 1),
            ("stlb", PASSED_PAGES, 1), ("walk caches", PASSED_TABLES, 1),
            ("l2", PASSED_LINES, 1), ("l3", PASSED_LINES, cpus),
        ):
            self.state.limit(name, max(1, times * (self.passing.footprint * share[kind] >> 16)))

    @property
    def subcycles(self):
        """What all calls cost."""
        return self.cycles

    @property
    def found(self):
        """Misses of all calls, by the numbers of (kind, level)."""
        return {
            (kind, level): self.found_[kind][level]
            for kind in range(<int>KINDS) for level in range(<int>LEVELS)
            if self.found_[kind][level]
        }

    cdef int64_t find(self, int64_t lines, bint first, int64_t function,
                      int stolen) noexcept nogil:
        """Make a call of `function` after `lines` (2**-16) of the background; what it costs.

        `stolen`: groups of lines, as bits, that other CPUs have written since the last call.
        """
        cdef int64_t branches = (lines >> 16) * self.passing.branch_share >> 16
        cdef int64_t cost
        cdef int[SEEN] seen
        cdef int region, visits = VISIT_ALL
        cdef bint disturbed = first or branches >= 1
        cdef Lump *lump = NULL
        if self.alone and not (first or self.full):
            visits = self.visits(lines, branches)
            if stolen:
                visits |= VISIT_CONTENDED
            if not visits:
                lump = &self.costs.lumps[<int>disturbed]
                if not self.costs.wants(lump):
                    self.skipped += lines
                    return self._remembered(lump)
        self.displace(lines, visits)
        self.displace_lower(lines)
        if branches > self.passing.upper_btb:
            btb_empty(&self.state.predictors.fast)
            btb_empty(&self.state.predictors.main)
            if branches > self.passing.btb:
                btb_empty(&self.state.predictors.last_level)
        for region in range(self.costs.path.regions):
            self.offsets[region] = self._offset(region, function)
        if stolen:
            self._steal(function, stolen)
        if not self.full and lump == NULL:
            self.costs.path.look(self.state, self.offsets, visits, seen)
            lump = self.costs.lump_of(seen, disturbed)
            if lump != NULL and not self.costs.wants(lump):
                self.costs.path.go(self.state, self.offsets, visits)
                self._count()
                return self._remembered(lump)
        self.displace(lines, VISIT_ALL & ~visits)
        return self._execute(lump, function, disturbed)

    cdef int64_t _remembered(self, const Lump *lump) noexcept nogil:
        """A call that costs what others of its signature did."""
        self.mispredicts += lump.mispredicts / lump.samples
        self.costs.spent += lump.mean
        self.cycles += lump.cost
        return lump.cost

    cdef int visits(self, int64_t lines, int64_t branches) noexcept nogil:
        """What may have been lost from the first level since the last call."""
        cdef int found = 0
        if lines > self.safe_code:
            found |= VISIT_CODE
        if lines > self.safe_data:
            found |= VISIT_DATA
        if lines > self.safe_pages:
            found |= VISIT_PAGES
        if branches > self.passing.upper_btb:
            found |= VISIT_BRANCHES
        return found

    cdef int64_t _execute(self, Lump *lump, int64_t function, bint disturbed) noexcept nogil:
        cdef double mispredicts = 0.0
        cdef double cycles = self.costs.ask(self.state, function, self.cpu, disturbed, &mispredicts)
        cdef int64_t cost = <int64_t>(cycles * SUBCYCLES + 0.5)
        if lump != NULL:
            self.costs.learn(lump, cycles, mispredicts)
            self.costs.spent += cycles
        self.executed += 1
        self.mispredicts += mispredicts
        self._count()
        self.cycles += cost
        return cost

    cdef void _count(self) noexcept nogil:
        """Take over what the call missed."""
        cdef int kind, level
        for kind in range(<int>KINDS):
            for level in range(<int>LEVELS):
                self.found_[kind][level] += self.state.memory.counts[kind][level]
        memset(self.state.memory.counts, 0, sizeof(self.state.memory.counts))
        self.state.memory.miss_count = 0

    cdef uint64_t _take(self, int kind, int64_t lines) noexcept nogil:
        """Whole lines or pages that the background passes through a kind of structure."""
        cdef int64_t share = self.passing.share[kind], whole
        whole = (lines >> 16) * share + ((lines & 0xFFFF) * share >> 16) + self.rest[kind]
        self.rest[kind] = whole & 0xFFFF
        return <uint64_t>(whole >> 16)

    cdef void displace(self, int64_t lines, int visits) noexcept nogil:
        """Pass the background's lines through those parts of the first level.

        What a call touches in the others is found in any case, and as new afterwards as if
        nothing had passed.
        """
        cdef uint64_t taken
        if visits & VISIT_CODE:
            self.state.memory.windows.foreign += self._take(PASSED_WINDOWS, lines)
            if not self.windows:
                self._displace_fetched(lines)
        if visits & VISIT_DATA:
            self.state.memory.data.foreign += self._take(PASSED_DATA, lines)
        if visits & VISIT_PAGES:
            taken = self._take(PASSED_DATA_PAGES, lines)
            self.state.memory.tlbs.data_small.foreign += taken
            self.state.memory.tlbs.data_large.foreign += taken
            self.state.memory.tlbs.data_huge.foreign += taken

    cdef void _displace_fetched(self, int64_t lines) noexcept nogil:
        cdef uint64_t taken
        self.state.memory.code.foreign += self._take(PASSED_CODE, lines)
        taken = self._take(PASSED_CODE_PAGES, lines)
        self.state.memory.tlbs.code_small.foreign += taken
        self.state.memory.tlbs.code_large.foreign += taken

    cdef void displace_lower(self, int64_t lines) noexcept nogil:
        """Pass them through everything that hits of the first level leave alone."""
        cdef uint64_t taken
        lines += self.skipped
        self.skipped = 0
        if self.windows:
            # behind a uop cache code and its pages are asked for only where that lacks a window
            self._displace_fetched(lines)
        taken = self._take(PASSED_LINES, lines)
        self.state.memory.l2.foreign += taken
        self.state.memory.l3.foreign += taken
        taken = self._take(PASSED_PAGES, lines)
        self.state.memory.tlbs.second.foreign += taken
        self.state.memory.tlbs.second_huge.foreign += taken
        taken = self._take(PASSED_TABLES, lines)
        self.state.memory.tlbs.directory.foreign += taken
        self.state.memory.tlbs.upper.foreign += taken

    cdef int64_t _offset(self, int64_t region, int64_t function) noexcept nogil:
        return (self.costs.fixed[region] + function * self.costs.by_function[region]
                + self.cpu * self.costs.by_cpu[region])

    cdef void _steal(self, int64_t function, int stolen) noexcept nogil:
        """Another CPU has written the contended lines of these groups."""
        cdef Py_ssize_t i
        cdef uint64_t line, victim
        cdef Line *found
        for i in range(self.costs.contended.shape[0]):
            if not stolen >> self.costs.contended[i, 2] & 1:
                continue
            line = <uint64_t>(
                self.costs.contended[i, 0] + self._offset(self.costs.contended[i, 1], function)
            ) >> LINE_SHIFT
            cache_drop(&self.state.memory.data, line)
            cache_drop(&self.state.memory.l2, line)
            found = cache_find(self.state.memory.l3, line)
            if found == NULL:
                found = cache_fill(self.state.memory.l3, line, &victim)
            if found != NULL:
                found.remote = 1
