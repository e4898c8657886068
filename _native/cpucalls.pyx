# cython: language_level=3
"""The calls that arrivals on one CPU make: which functions, how deep, after how much background."""

from libc.stdlib cimport calloc, free
from libc.stdint cimport int32_t, int64_t, uint64_t

from tramposim._native.arrivals cimport LAST_TIME
from tramposim._native.callcosts cimport MOST_CALLS
from tramposim._native.rng cimport xoshiro_next, xoshiro_seed
from tramposim._native.sharing cimport TASK, SharedWrites
from tramposim._native.warmth cimport CallsOf, Passing

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
    MOST_LOG = 1 << 24


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
