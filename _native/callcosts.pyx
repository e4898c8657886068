# cython: language_level=3
"""Costs of calls by what they find: executed often enough, remembered by signature."""

from libc.math cimport sqrt
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from tramposim._native.arrivals cimport LAST_TIME
from tramposim._native.callpath cimport SEEN, CallPath
from tramposim._native.corestate cimport CoreState
from tramposim._native.sharing cimport GROUPS

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
            path.contend(<uint64_t>contended[i, 0], <int>contended[i, 1])
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
