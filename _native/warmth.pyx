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

from libc.math cimport sqrt
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from tramposim._native.arrivals cimport LAST_TIME
from tramposim._native.caches cimport Cache, Line, cache_drop, cache_fill, cache_find
from tramposim._native.callpath cimport (
    SEEN, VISIT_ALL, VISIT_BRANCHES, VISIT_CODE, VISIT_DATA, VISIT_PAGES, CallPath)
from tramposim._native.corestate cimport CoreState
from tramposim._native.memory cimport KINDS, LEVELS, LINE_SHIFT
from tramposim._native.predictors cimport btb_empty
from tramposim._native.rng cimport xoshiro_next, xoshiro_seed
from tramposim._native.sharing cimport GROUPS, TASK, SharedWrites

cdef extern from *:
    """
    #include <stdint.h>

    static int64_t tramposim_scaled(int64_t time, uint64_t rate)
    {
        unsigned __int128 product = (unsigned __int128)(uint64_t)time * rate >> 32;
        return product < (1LL << 56) ? (int64_t)product : 1LL << 56;
    }
    """
    int64_t tramposim_scaled(int64_t time, uint64_t rate) noexcept nogil

cdef enum:
    MOST_FUNCTIONS = 1 << 20
    MOST_DEPTH = 64
    MOST_CALLS = 4096           # of one arrival
    MOST_LOG = 1 << 24
    SUBCYCLES = 1 << 16
    QUICK = 2                       # lumps without a key: nothing is missing

cdef double LEAST_DEVIATION = 0.1   # of a signature's mean, what one sample leaves open


cdef class CallCosts:
    """Costs of a scenario's calls by signature, found when they are needed.

    `execute(state, function, cpu, disturbed)` times a call in `state`, which it leaves as the
    call does: (cycles, mispredicts). `moves` say how far each region of the path is moved:
    bytes, bytes per number of the function, bytes per number of the CPU. `contended` are (address,
    region, number of `Groups`) of lines that other CPUs write. Enough calls are executed for the
    standard error of the mean cost to be below `tolerance` of it.
    """

    def __cinit__(self):
        self.lumps = NULL
        self.table = NULL

    def __init__(self, CallPath path not None, execute not None, moves not None,
                 const int64_t[:, ::1] contended not None, double tolerance):
        cdef Py_ssize_t i
        if self.lumps != NULL:
            raise ValueError("made once")
        if not 1e-6 <= tolerance <= 1.0:
            raise ValueError("a tolerance is a share of the cost")
        self.path = path
        self.execute = execute
        self.fixed, self.by_function, self.by_cpu = moves
        for each in moves:
            if len(each) < path.regions:
                raise ValueError("a move for every region")
        if contended.shape[1] != 3:
            raise ValueError("a contended line has an address, a region and a group")
        for i in range(contended.shape[0]):
            if not 0 <= contended[i, 1] < len(moves[0]) or not 0 <= contended[i, 2] < GROUPS:
                raise ValueError("a contended line lies in no region, or is of no group")
        self.contended = contended
        self.tolerance = tolerance
        self.count = QUICK
        self.room = 256
        self.slots = 1024
        self.lumps = <Lump *>calloc(self.room, sizeof(Lump))
        self.table = <int32_t *>malloc(self.slots * sizeof(int32_t))
        if self.lumps == NULL or self.table == NULL:
            raise MemoryError
        memset(self.table, 0xFF, self.slots * sizeof(int32_t))

    def __dealloc__(self):
        free(self.lumps)
        free(self.table)

    @property
    def signatures(self):
        """Number of signatures that calls had so far."""
        return self.count - QUICK

    @property
    def error(self):
        """Standard error of the mean cost of all calls so far, as a share of it."""
        cdef double total = 0.0
        cdef int64_t i
        cdef Lump *lump
        for i in range(self.count):
            lump = &self.lumps[i]
            if lump.samples:
                total += lump.uses * (lump.deviation * lump.uses * lump.deviation / lump.samples)
        return sqrt(total) / self.spent if self.spent else 0.0

    cdef Lump *lump_of(self, const int *seen, bint disturbed) noexcept nogil:
        """The lump of a signature, made if it is new; NULL if there is no memory for it."""
        cdef uint64_t[2] key
        cdef uint64_t hashed
        cdef int64_t at
        cdef int i, step
        key[0] = 0
        key[1] = disturbed
        for i in range(<int>SEEN):
            step = _step(seen[i])
            key[i >> 4] = key[i >> 4] << 4 | <uint64_t>step
        hashed = (key[0] ^ key[1] * 0x9E3779B97F4A7C15ULL) * 0xD6E8FEB86659FD93ULL
        hashed ^= hashed >> 32
        at = <int64_t>(hashed & <uint64_t>(self.slots - 1))
        while self.table[at] >= 0:
            if (self.lumps[self.table[at]].key[0] == key[0]
                    and self.lumps[self.table[at]].key[1] == key[1]):
                return &self.lumps[self.table[at]]
            at = (at + 1) & (self.slots - 1)
        if self.count == self.room:
            if self.grow() < 0:
                return NULL
            return self.lump_of(seen, disturbed)
        self.table[at] = <int32_t>self.count
        self.lumps[self.count].key[0] = key[0]
        self.lumps[self.count].key[1] = key[1]
        self.count += 1
        return &self.lumps[self.count - 1]

    cdef int grow(self) noexcept nogil:
        """Room for twice as many signatures; -1 without memory."""
        cdef int64_t i, at
        cdef uint64_t hashed
        cdef Lump *lumps = <Lump *>realloc(self.lumps, 2 * self.room * sizeof(Lump))
        cdef int32_t *table
        if lumps == NULL:
            return -1
        self.lumps = lumps
        memset(&lumps[self.room], 0, self.room * sizeof(Lump))
        table = <int32_t *>realloc(self.table, 2 * self.slots * sizeof(int32_t))
        if table == NULL:
            return -1
        self.room *= 2
        self.slots *= 2
        self.table = table
        memset(table, 0xFF, self.slots * sizeof(int32_t))
        for i in range(<int64_t>QUICK, self.count):
            hashed = (lumps[i].key[0] ^ lumps[i].key[1] * 0x9E3779B97F4A7C15ULL)
            hashed *= 0xD6E8FEB86659FD93ULL
            hashed ^= hashed >> 32
            at = <int64_t>(hashed & <uint64_t>(self.slots - 1))
            while table[at] >= 0:
                at = (at + 1) & (self.slots - 1)
            table[at] = <int32_t>i
        return 0

    cdef bint wants(self, Lump *lump) noexcept nogil:
        """Whether the next call of this signature is to be executed.

        Samples in proportion to uses and deviation give the least error for their number
        (Neyman, J. Royal Statistical Society 97(4), 1934).
        """
        cdef double allowed = self.tolerance * self.spent
        lump.uses += 1
        self.spread += lump.deviation
        if lump.samples == 0:
            return True
        return lump.samples * allowed * allowed < lump.uses * lump.deviation * self.spread

    cdef void learn(self, Lump *lump, double cycles, double mispredicts) noexcept nogil:
        cdef double before = cycles - lump.mean, deviation
        lump.samples += 1
        lump.mean += before / lump.samples
        lump.squares += before * (cycles - lump.mean)
        lump.mispredicts += mispredicts
        lump.cost = <int64_t>(lump.mean * SUBCYCLES + 0.5)
        deviation = LEAST_DEVIATION * lump.mean
        deviation = sqrt((lump.squares + deviation * deviation) / lump.samples)
        self.spread += (deviation - lump.deviation) * lump.uses
        lump.deviation = deviation

    cdef double ask(self, CoreState state, int64_t function, int cpu, bint disturbed,
                    double *mispredicts) noexcept with gil:
        """Execute a call; what goes wrong is kept in `failure`, the cost is then 1."""
        cdef double cycles = 1.0
        mispredicts[0] = 0.0
        if self.failure is None:
            try:
                cycles, mispredicts[0] = self.execute(state, function, cpu, disturbed)
                if not 1.0 <= cycles <= LAST_TIME // MOST_CALLS // SUBCYCLES:
                    raise ValueError(f"a call of {cycles} cycles")
            except Exception as error:
                self.failure = error
                cycles = 1.0
        return cycles


cdef int _step(int number) noexcept nogil:
    """0 to 15 for a number of misses: exact up to 5, then in steps of about 30 %."""
    cdef int step = 5, limit = 5
    if number <= 5:
        return number
    while step < 15 and number > limit:
        limit += 1 + limit // 4
        step += 1
    return step


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
                visits |= VISIT_DATA
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


cdef int64_t calls_of(int depth, int fanout):
    """Calls of a tree, or more than `MOST_CALLS`."""
    cdef int64_t calls = 0, level = 1
    cdef int k
    for k in range(depth):
        calls += level
        if calls > MOST_CALLS:
            break
        level *= fanout
    return calls


cdef class CpuCalls:
    """The calls of one CPU, of functions drawn at random.

    Each arrival makes a call, which makes `fanout` calls, and so on, `depth` deep; a nested call
    is one of its caller itself with the chance `recursion`.
    `chances` and `aliases` are the alias tables of the functions' popularity (one entry: all
    calls are of one function); function k has the place k * `scatter` modulo their number among
    the functions in memory. `log`: the costs of that many calls are kept.
    """

    def __cinit__(self):
        self.last = -1
        self.chances = NULL
        self.aliases = NULL
        self.log = NULL

    def __init__(
        self,
        CallsOf traced not None,
        CallsOf untraced not None,
        Passing passing not None,
        const uint64_t[::1] chances not None,
        const int32_t[::1] aliases not None,
        int64_t scatter,
        int depth,
        uint64_t seed,
        uint64_t stream,
        int fanout=1,
        double recursion=0.0,
        int64_t log=0,
    ):
        cdef Py_ssize_t i
        if self.chances != NULL:
            raise ValueError("made once")
        self.functions = chances.shape[0]
        if not 1 <= self.functions <= MOST_FUNCTIONS or aliases.shape[0] != chances.shape[0]:
            raise ValueError(f"1 to {MOST_FUNCTIONS} functions")
        if not 1 <= depth <= MOST_DEPTH or not 0 <= scatter <= MOST_FUNCTIONS:
            raise ValueError("depth or scatter out of range")
        if not 1 <= fanout <= MOST_CALLS or calls_of(depth, fanout) > MOST_CALLS:
            raise ValueError(f"an arrival makes at most {MOST_CALLS} calls")
        if not 0.0 <= recursion < 1.0:
            raise ValueError("a share of recursive calls is 0 to below 1")
        if not 0 <= log <= MOST_LOG:
            raise ValueError(f"a log of at most {MOST_LOG} calls")
        if traced.alone != (self.functions == 1) or untraced.alone != traced.alone:
            raise ValueError("calls of one function for one function, of many for many")
        self.traced = traced
        self.untraced = untraced
        self.passing = passing
        self.scatter = scatter
        self.depth = depth
        self.fanout = fanout
        self.recursion = <uint64_t>(recursion * 18446744073709551616.0)
        self.shared = SharedWrites()
        self.logged = log
        self.chances = <uint64_t *>calloc(self.functions, 8)
        self.aliases = <int32_t *>calloc(self.functions, 4)
        self.log = <int64_t *>calloc(log + 1, 8)
        if not (self.chances and self.aliases and self.log):
            raise MemoryError
        for i in range(self.functions):
            if not 0 <= aliases[i] < self.functions:
                raise ValueError("an alias is no function")
            self.chances[i] = chances[i]
            self.aliases[i] = aliases[i]
        xoshiro_seed(&self.random, seed, stream)

    def __dealloc__(self):
        free(self.chances)
        free(self.aliases)
        free(self.log)

    def call(self, int64_t start):
        """Make an arrival's calls at `start` by themselves; returns what they cost."""
        if not 0 <= start <= LAST_TIME:
            raise ValueError("a time out of range")
        return self.price(start)

    @property
    def made(self):
        """Calls so far."""
        return self.calls

    @property
    def costs(self):
        """Costs of the calls that were logged, in their order."""
        return [self.log[i] for i in range(min(self.calls, self.logged))]

    cdef void displaced(self, int64_t time, uint64_t rate) noexcept nogil:
        """A task ran for `time` that passes lines at `rate` (2**-48 lines per subcycle)."""
        self.extra += tramposim_scaled(time, rate)

    cdef int64_t price(self, int64_t start) noexcept nogil:
        """What an arrival costs that is served from `start` on."""
        return self.tree(start, 1, -1)

    cdef int64_t tree(self, int64_t start, int level, int64_t caller) noexcept nogil:
        """A call and all that it makes."""
        cdef int64_t function = self.draw(caller)
        cdef int64_t cost = self.one(start, function)
        cdef int k
        if level < self.depth:
            for k in range(self.fanout):
                cost += self.tree(start + cost, level + 1, function)
        return cost

    cdef int64_t draw(self, int64_t caller) noexcept nogil:
        """The function that is called: by popularity, or the caller."""
        cdef int64_t function
        if self.functions == 1:
            return 0
        if caller >= 0 and self.recursion and xoshiro_next(&self.random) < self.recursion:
            return caller
        function = <int64_t>((xoshiro_next(&self.random) >> 32) * <uint64_t>self.functions >> 32)
        if xoshiro_next(&self.random) >= self.chances[function]:
            function = self.aliases[function]
        return function

    cdef int64_t one(self, int64_t start, int64_t function) noexcept nogil:
        cdef int64_t cost, elapsed = -1, lines = 0
        cdef int64_t place = function * self.scatter % self.functions
        cdef int stolen
        if self.last >= 0:
            elapsed = start - self.last if start > self.last else 0
            lines = tramposim_scaled(elapsed, self.passing.rate) + self.extra
        self.extra = 0
        stolen = self.shared.lost(start, &self.random)
        cost = self.traced.find(lines, elapsed < 0, place, stolen)
        self.untraced.find(lines, elapsed < 0, place, stolen & 1 << <int>TASK)
        if self.calls < self.logged:
            self.log[self.calls] = cost
        cost += self.shared.wait(stolen)
        self.calls += 1
        self.last = start + cost
        return cost
