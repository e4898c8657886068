# cython: language_level=3
"""What calls find on one CPU: how far the background has displaced what they use.

Between two calls the background passes lines through the caches. Ages count them, in 2**-16
lines. Where one function is traced: since the last call (what it has in first-level caches and
TLBs), since the last call that fetched lines (what first-level hits leave alone in L2 and L3),
since the last that looked up code pages beyond the first TLB, since the last that walked page
tables. Where many are traced, the first two are the ages of what all calls share (entry and exit
functions, programs, task: since the last call of any) and of what belongs to the function (its
code, its image: since its own last call, other functions' own lines included).
`CallCosts` tells from the levels of the four ages what a call costs. A cost is asked for when
it is first needed: it is found by executing the call on the core model in such a state.
"""

from libc.stdlib cimport calloc, free
from libc.stdint cimport int32_t, int64_t, uint64_t

from tramposim._native.arrivals cimport LAST_TIME
from tramposim._native.rng cimport xoshiro_next, xoshiro_seed
from tramposim._native.sharing cimport GROUPS, TASK, SharedWrites

cdef extern from *:
    """
    #include <stdint.h>

    static int64_t tramposim_scaled(int64_t time, uint64_t rate)
    {
        unsigned __int128 product = (unsigned __int128)(uint64_t)time * rate >> 32;
        return product < INT64_MAX / 4 ? (int64_t)product : INT64_MAX / 4;
    }

    static int64_t tramposim_ratio(int64_t time, uint64_t rate, uint64_t base)
    {
        return base ? (int64_t)((unsigned __int128)(uint64_t)time * rate / base) : 0;
    }
    """
    int64_t tramposim_scaled(int64_t time, uint64_t rate) noexcept nogil
    int64_t tramposim_ratio(int64_t time, uint64_t rate, uint64_t base) noexcept nogil

cdef enum:
    MOST_FUNCTIONS = 1 << 20
    MOST_DEPTH = 64
    MOST_LEVELS = 256
    MOST_CALLS = 4096           # of one arrival


cdef class CallCosts:
    """Costs by the levels of the four ages; see the module's text.

    Level k of an age holds up to `limits[age][k]` (ascending, 2**-16 lines); its last level has
    no limit. `fill(cell)` gives the subcycles of a cell and what such a call brings in anew
    (`Refreshed`); cells are numbered by the groups of lines that another CPU has written since
    (a bit each, the first `groups` of `Groups`) and the level of each age, the last one counting
    fastest. `alone`: one function is traced.
    `own_lines`: lines that a call brings in for its function alone.
    """

    def __cinit__(self):
        self.costs = NULL
        self.refreshes = NULL

    def __init__(self, limits not None, fill not None, int64_t own_lines, bint alone,
                 int groups=1):
        cdef Py_ssize_t i
        cdef int age
        cdef const int64_t[::1] view
        if self.costs != NULL:
            raise ValueError("made once")
        if len(limits) != AGES:
            raise ValueError(f"limits of {AGES} ages")
        self.limits = list(limits)
        for age in range(AGES):
            view = limits[age]
            if view.shape[0] >= MOST_LEVELS:
                raise ValueError(f"at most {MOST_LEVELS} levels")
            for i in range(1, view.shape[0]):
                if view[i] <= view[i - 1]:
                    raise ValueError("limits of levels must ascend")
            self.levels[age] = <int>view.shape[0] + 1
            self.limit[age] = &view[0] if view.shape[0] else NULL
        if not 0 <= own_lines <= 1 << 40:
            raise ValueError("a number of lines is not negative")
        self.fill = fill
        self.own_lines = own_lines << 16
        self.alone = alone
        if not 0 <= groups <= GROUPS:
            raise ValueError(f"0 to {<int>GROUPS} groups of lines")
        self.groups = groups
        self.costs = <int64_t *>calloc(self.cells, sizeof(int64_t))
        self.refreshes = <unsigned char *>calloc(self.cells, 1)
        if self.costs == NULL or self.refreshes == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.costs)
        free(self.refreshes)

    @property
    def cells(self):
        """Number of cells."""
        cdef int age
        cells = 1 << self.groups
        for age in range(AGES):
            cells *= self.levels[age]
        return cells

    def levels_of(self, int64_t cell):
        """(Groups written elsewhere as bits, level of each age) of a cell."""
        cdef int age
        found = []
        for age in range(AGES - 1, -1, -1):
            found.append(cell % self.levels[age])
            cell //= self.levels[age]
        return cell, *reversed(found)

    cdef int64_t cell(self, int stolen, const int64_t *ages) noexcept nogil:
        cdef int64_t number = stolen & ((1 << self.groups) - 1)
        cdef int age, k
        for age in range(AGES):
            k = 0
            while k < self.levels[age] - 1 and ages[age] > self.limit[age][k]:
                k += 1
            number = number * self.levels[age] + k
        return number

    cdef int64_t look_up(self, int64_t cell) noexcept nogil:
        if self.costs[cell] == 0:
            self.ask(cell)
        return self.costs[cell]

    cdef void ask(self, int64_t cell) noexcept with gil:
        """Have a cost found; what goes wrong is kept in `failure`, the cost is then 1."""
        self.costs[cell] = 1
        if self.failure is None:
            try:
                cost, refreshes = self.fill(cell)
                if not 1 <= cost <= LAST_TIME // MOST_CALLS:
                    raise ValueError(f"a call of {cost} subcycles")
                self.costs[cell] = cost
                self.refreshes[cell] = refreshes
            except Exception as error:
                self.failure = error


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
    calls are of one function). The background passes `lines_per_subcycle` lines (2**-48 lines)
    through, over and over the same `footprint` lines. Both costs must have the same levels of
    `alone`.
    """

    def __cinit__(self):
        self.last = -1

    def __init__(
        self,
        CallCosts traced not None,
        CallCosts untraced not None,
        uint64_t lines_per_subcycle,
        int64_t footprint,
        const uint64_t[::1] chances not None,
        const int32_t[::1] aliases not None,
        int depth,
        uint64_t seed,
        uint64_t stream,
        int fanout=1,
        double recursion=0.0,
    ):
        cdef Py_ssize_t i
        if self.uses != NULL:
            raise ValueError("made once")
        self.functions = chances.shape[0]
        if not 1 <= self.functions <= MOST_FUNCTIONS or aliases.shape[0] != chances.shape[0]:
            raise ValueError(f"1 to {MOST_FUNCTIONS} functions")
        if not 1 <= depth <= MOST_DEPTH or not 0 <= footprint <= 1 << 40:
            raise ValueError("depth or footprint out of range")
        if not 1 <= fanout <= MOST_CALLS or calls_of(depth, fanout) > MOST_CALLS:
            raise ValueError(f"an arrival makes at most {MOST_CALLS} calls")
        if not 0.0 <= recursion < 1.0:
            raise ValueError("a share of recursive calls is 0 to below 1")
        if traced.alone != (self.functions == 1) or untraced.alone != traced.alone:
            raise ValueError("costs of one function for one function, of many for many")
        self.traced = traced
        self.untraced = untraced
        self.uses = <int64_t *>calloc(traced.cells, sizeof(int64_t))
        self.untraced_uses = <int64_t *>calloc(untraced.cells, sizeof(int64_t))
        self.rate = lines_per_subcycle
        self.footprint = footprint << 16
        self.depth = depth
        self.fanout = fanout
        self.shared = SharedWrites()
        self.recursion = <uint64_t>(recursion * 18446744073709551616.0)
        self.chances = <uint64_t *>calloc(self.functions, 8)
        self.aliases = <int32_t *>calloc(self.functions, 4)
        self.ended = <int64_t *>calloc(self.functions, 8)
        self.counted = <int64_t *>calloc(self.functions, 8)
        if not (self.uses and self.untraced_uses and self.chances and self.aliases
                and self.ended and self.counted):
            raise MemoryError
        for i in range(self.functions):
            if not 0 <= aliases[i] < self.functions:
                raise ValueError("an alias is no function")
            self.chances[i] = chances[i]
            self.aliases[i] = aliases[i]
            self.ended[i] = -1
        xoshiro_seed(&self.random, seed, stream)

    def __dealloc__(self):
        free(self.uses)
        free(self.untraced_uses)
        free(self.chances)
        free(self.aliases)
        free(self.ended)
        free(self.counted)

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
    def used(self):
        """Calls by cell, for cells with any: (of the traced costs, of the untraced)."""
        return (
            {i: self.uses[i] for i in range(self.traced.cells) if self.uses[i]},
            {i: self.untraced_uses[i]
             for i in range(self.untraced.cells) if self.untraced_uses[i]},
        )

    cdef int64_t age(self, int64_t elapsed) noexcept nogil:
        """Lines that the background passed through in a time."""
        cdef int64_t lines = tramposim_scaled(elapsed if elapsed > 0 else 0, self.rate)
        return lines if lines < self.footprint else self.footprint

    cdef void displaced(self, int64_t time, uint64_t rate) noexcept nogil:
        """A task ran for `time` that passes lines at `rate` (as `lines_per_subcycle`)."""
        self.skew += tramposim_ratio(time, rate, self.rate)

    cdef int64_t price(self, int64_t start) noexcept nogil:
        """What an arrival costs that is served from `start` on."""
        return self.tree(start + self.skew, 1, -1)

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
        cdef int64_t others, cost, cell, other
        cdef int64_t[AGES] ages
        cdef int stolen
        cdef int k
        if self.last < 0:
            for k in range(AGES):
                ages[k] = LAST_TIME
        else:
            ages[0] = self.age(start - self.last)
            for k in range(1, AGES):
                ages[k] = self.age(start - self.renewed[k - 1])
        if not self.traced.alone:
            if self.ended[function] < 0:
                ages[1] = LAST_TIME
            else:
                others = self.calls - self.counted[function] - 1
                if others > self.functions - 1:
                    others = self.functions - 1
                ages[1] = self.age(start - self.ended[function]) + others * self.traced.own_lines
        stolen = self.shared.lost(start - self.skew, &self.random)
        cell = self.traced.cell(stolen, ages)
        cost = self.traced.look_up(cell) + self.shared.wait(stolen)
        self.uses[cell] += 1
        other = self.untraced.cell(stolen & 1 << <int>TASK, ages)
        self.untraced.look_up(other)
        self.untraced_uses[other] += 1
        self.counted[function] = self.calls
        self.calls += 1
        self.last = start + cost
        self.ended[function] = self.last
        for k in range(AGES - 1):
            if self.traced.refreshes[cell] & (1 << k):
                self.renewed[k] = self.last
        return cost
