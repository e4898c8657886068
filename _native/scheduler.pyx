"""Schedulers and ports: when a uop of known readiness starts to execute.

A uop is bound to a port at rename, to the one of its class with the fewest uops waiting
(Intel: counters of the allocation stage; Arm and AMD: per-pipe or shared issue queues), and
starts in the first cycle from its readiness on in which that port is free. Entries of the
pool are held from rename to issue and freed out of order.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from *:
    int __builtin_ctz(unsigned int value) noexcept nogil


cdef int scheduler_open(Scheduler *unit, const CoreParams *core) except -1:
    cdef int pool
    memset(unit, 0, sizeof(Scheduler))
    unit.cells = <Cell *>calloc(HORIZON, sizeof(Cell))
    if unit.cells == NULL:
        raise MemoryError
    unit.ports = core.ports
    unit.pools = core.pools
    for pool in range(core.pools):
        unit.size[pool] = core.pool_size[pool]
    return 0


cdef void scheduler_close(Scheduler *unit) noexcept nogil:
    free(unit.cells)
    unit.cells = NULL


cdef void scheduler_advance(Scheduler *unit, int64_t cycle) noexcept nogil:
    """Move rename's clock to `cycle`: free what issued before it."""
    cdef Cell *cell
    while unit.now < cycle:
        cell = &unit.cells[unit.now & (HORIZON - 1)]
        unit.occupied -= cell.leaves
        unit.queued[0] -= cell.issues[0]
        unit.queued[1] -= cell.issues[1]
        memset(cell, 0, sizeof(Cell))
        unit.now += 1


cdef int64_t scheduler_room(Scheduler *unit, int pool, int64_t cycle) noexcept nogil:
    """First cycle, from `cycle` on, at which `pool` has a free entry."""
    scheduler_advance(unit, cycle)
    while (unit.occupied >> (8 * pool)) & 255 >= <uint64_t>unit.size[pool]:
        scheduler_advance(unit, unit.now + 1)
    return unit.now if unit.now > cycle else cycle


cdef int64_t scheduler_issue(
    Scheduler *unit, const UopRec *uop, int64_t cycle, int64_t ready
) noexcept nogil:
    """Bind `uop`, renamed in `cycle`, to a port; return the cycle in which it starts."""
    cdef uint32_t ports = uop.ports
    cdef const uint8_t *queued = <const uint8_t *>unit.queued
    cdef int port = 0, best = 1 << 30, i, k
    cdef int64_t start
    cdef uint32_t bit
    cdef uint64_t bit64
    cdef bint free_run
    cdef Cell *cell
    while ports:
        i = __builtin_ctz(ports)
        ports &= ports - 1
        if queued[i] < best:
            best = queued[i]
            port = i
    unit.port = port
    bit = <uint32_t>1 << port
    start = cycle + 1
    if ready > start:
        start = ready
    if start - unit.now >= HORIZON - 1024:
        scheduler_advance(unit, start - (HORIZON - 2048))
    if uop.occupancy <= 1:
        while unit.cells[start & (HORIZON - 1)].busy & bit:
            start += 1
        unit.cells[start & (HORIZON - 1)].busy |= bit
    else:
        while True:
            free_run = True
            for k in range(uop.occupancy):
                if unit.cells[(start + k) & (HORIZON - 1)].busy & bit:
                    free_run = False
                    start += k + 1
                    break
            if free_run:
                break
        for k in range(uop.occupancy):
            unit.cells[(start + k) & (HORIZON - 1)].busy |= bit
    if start + uop.occupancy >= unit.furthest:
        unit.furthest = start + uop.occupancy + 1
    if start - unit.now >= HORIZON - 1024:
        scheduler_advance(unit, start - (HORIZON - 2048))
    cell = &unit.cells[start & (HORIZON - 1)]
    # A pool holds at most 250 entries, so that none of the bytes overflows.
    bit64 = <uint64_t>1 << (8 * uop.pool)
    cell.leaves += bit64
    unit.occupied += bit64
    bit64 = <uint64_t>1 << (8 * (port & 7))
    cell.issues[port >> 3] += bit64
    unit.queued[port >> 3] += bit64
    return start
