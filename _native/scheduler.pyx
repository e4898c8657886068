"""Schedulers and ports: when a uop of known readiness starts to execute.

A uop is bound to a port at rename, to the one of its class with the fewest uops waiting
(Intel: counters of the allocation stage; Arm and AMD: per-pipe or shared issue queues), and
starts in the first cycle from its readiness on in which that port is free. Entries of the
pool are held from rename to issue and freed out of order.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset
from libc.stdint cimport int64_t, uint32_t


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
    cdef int i
    while unit.now < cycle:
        cell = &unit.cells[unit.now & (HORIZON - 1)]
        for i in range(unit.pools):
            unit.occupied[i] -= cell.leaves[i]
        for i in range(MAX_PORTS):
            unit.queued[i] -= cell.issues[i]
        memset(cell, 0, sizeof(Cell))
        unit.now += 1


cdef int64_t scheduler_room(Scheduler *unit, int pool, int64_t cycle) noexcept nogil:
    """First cycle, from `cycle` on, at which `pool` has a free entry."""
    scheduler_advance(unit, cycle)
    while unit.occupied[pool] >= unit.size[pool]:
        scheduler_advance(unit, unit.now + 1)
    return unit.now if unit.now > cycle else cycle


cdef int64_t scheduler_issue(
    Scheduler *unit, const UopRec *uop, int64_t cycle, int64_t ready
) noexcept nogil:
    """Bind `uop`, renamed in `cycle`, to a port; return the cycle in which it starts."""
    cdef uint32_t ports = uop.ports
    cdef int port = -1, best = 1 << 30, i, k
    cdef int64_t start
    cdef uint32_t bit
    cdef bint free_run
    cdef Cell *cell
    for i in range(unit.ports):
        if (ports >> i) & 1 and unit.queued[i] < best:
            best = unit.queued[i]
            port = i
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
    if start - unit.now >= HORIZON - 1024:
        scheduler_advance(unit, start - (HORIZON - 2048))
    cell = &unit.cells[start & (HORIZON - 1)]
    if cell.leaves[uop.pool] < 255 and cell.issues[port] < 255:
        cell.leaves[uop.pool] += 1
        cell.issues[port] += 1
        unit.occupied[uop.pool] += 1
        unit.queued[port] += 1
    return start
