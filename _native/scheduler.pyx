"""Schedulers and ports: when a uop of known readiness starts to execute.

A uop is bound to a port at rename, to the one of its class with the fewest uops waiting
(Intel: counters of the allocation stage; Arm and AMD: per-pipe or shared issue queues), and
starts in the first cycle from its readiness on in which that port is free. One whose unit is not
pipelined (division) keeps others of the kind on its port waiting for its `occupancy`, not other
uops. Entries of the pool are held from rename to issue and freed out of order.
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
    while unit.now < cycle:
        cell = &unit.cells[unit.now & (HORIZON - 1)]
        unit.occupied -= cell.leaves
        unit.queued[0] -= cell.issues[0]
        unit.queued[1] -= cell.issues[1]
        memset(cell, 0, sizeof(Cell))
        unit.now += 1


cdef int64_t scheduler_occupy(
    Scheduler *unit, uint32_t bit, int64_t start, int cycles
) noexcept nogil:
    """Take the unit of a port that is not pipelined for `cycles`, the port for the first of them.

    Return that first cycle, `start` or later.
    """
    cdef uint32_t whole = bit << UNIT_SHIFT
    cdef int k = 0
    while k < cycles:
        if unit.cells[(start + k) & (HORIZON - 1)].busy & (whole if k else whole | bit):
            start += k + 1
            k = 0
        else:
            k += 1
    for k in range(cycles):
        unit.cells[(start + k) & (HORIZON - 1)].busy |= whole
    unit.cells[start & (HORIZON - 1)].busy |= bit
    return start
