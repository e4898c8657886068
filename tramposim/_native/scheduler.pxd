"""Schedulers and ports: when a uop of known readiness starts to execute."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from tramposim._native.uarch cimport MAX_POOLS, MAX_PORTS, CoreParams, UopRec

cdef enum:
    HORIZON = 1 << 15   # cycles that reservations may lie ahead of rename
    UNIT_SHIFT = 16     # in `busy`: from here on the unit of each port that is not pipelined

cdef struct Cell:
    uint64_t leaves                # per pool one byte: scheduler entries that free in this cycle
    uint64_t issues[2]             # per port one byte: queued uops that leave in this cycle
    uint32_t busy                  # ports that start a uop in this cycle, units that work on one
    uint32_t pad

cdef struct Scheduler:
    Cell *cells
    int64_t now                    # cells before it are cleared
    int64_t furthest               # cells from it on are still clear
    uint64_t occupied              # per pool one byte; no sum of bytes ever carries
    uint64_t queued[2]             # per port one byte
    int ports
    int pools
    int port                       # that the last uop was bound to
    int size[MAX_POOLS]

cdef int scheduler_open(Scheduler *unit, const CoreParams *core) except -1
cdef void scheduler_close(Scheduler *unit) noexcept nogil
cdef void scheduler_advance(Scheduler *unit, int64_t cycle) noexcept nogil

cdef int64_t scheduler_occupy(
    Scheduler *unit, uint32_t bit, int64_t start, int cycles) noexcept nogil

cdef extern from *:
    int __builtin_ctz(unsigned int value) noexcept nogil


cdef inline int64_t scheduler_room(Scheduler *unit, int pool, int64_t cycle) noexcept nogil:
    """First cycle, from `cycle` on, at which `pool` has a free entry."""
    if unit.now < cycle:
        scheduler_advance(unit, cycle)
    while (unit.occupied >> (8 * pool)) & 255 >= <uint64_t>unit.size[pool]:
        scheduler_advance(unit, unit.now + 1)
    return unit.now


cdef inline int scheduler_port(const Scheduler *unit, uint32_t ports) noexcept nogil:
    """The one of `ports` with the fewest uops waiting."""
    cdef const uint8_t *queued = <const uint8_t *>unit.queued
    cdef int port = __builtin_ctz(ports), best, i
    best = queued[port]
    ports &= ports - 1
    while ports:
        i = __builtin_ctz(ports)
        ports &= ports - 1
        if queued[i] < best:
            best = queued[i]
            port = i
    return port


cdef inline int64_t scheduler_issue(
    Scheduler *unit, const UopRec *uop, int64_t cycle, int64_t ready
) noexcept nogil:
    """Bind `uop`, renamed in `cycle`, to a port; return the cycle in which it starts."""
    cdef int port = scheduler_port(unit, uop.ports)
    cdef uint32_t bit = <uint32_t>1 << port
    cdef int64_t start = cycle + 1
    cdef uint64_t entry
    cdef Cell *cell
    unit.port = port
    if ready > start:
        start = ready
    if start - unit.now >= HORIZON - 1024:
        scheduler_advance(unit, start - (HORIZON - 2048))
    if uop.occupancy > 1:
        start = scheduler_occupy(unit, bit, start, uop.occupancy)
    else:
        while unit.cells[start & (HORIZON - 1)].busy & bit:
            start += 1
        unit.cells[start & (HORIZON - 1)].busy |= bit
    if start + uop.occupancy >= unit.furthest:
        unit.furthest = start + uop.occupancy + 1
    if start - unit.now >= HORIZON - 1024:
        scheduler_advance(unit, start - (HORIZON - 2048))
    cell = &unit.cells[start & (HORIZON - 1)]
    # A pool holds at most 250 entries, so that none of the bytes overflows.
    entry = <uint64_t>1 << (8 * uop.pool)
    cell.leaves += entry
    unit.occupied += entry
    entry = <uint64_t>1 << (8 * (port & 7))
    cell.issues[port >> 3] += entry
    unit.queued[port >> 3] += entry
    return start
