"""Schedulers and ports: when a uop of known readiness starts to execute."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from tramposim._native.uarch cimport MAX_POOLS, MAX_PORTS, CoreParams, UopRec

cdef enum:
    HORIZON = 1 << 15   # cycles that reservations may lie ahead of rename

cdef struct Cell:
    uint64_t leaves                # per pool one byte: scheduler entries that free in this cycle
    uint64_t issues[2]             # per port one byte: queued uops that leave in this cycle
    uint32_t busy                  # ports that start a uop in this cycle
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
cdef int64_t scheduler_room(Scheduler *unit, int pool, int64_t cycle) noexcept nogil
cdef int64_t scheduler_issue(
    Scheduler *unit, const UopRec *uop, int64_t cycle, int64_t ready) noexcept nogil
