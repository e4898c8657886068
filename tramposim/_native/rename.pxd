"""Rename: slots in program order, and what stops it behind: ROB and schedulers."""

from libc.stdint cimport int64_t

from tramposim._native.hardware cimport SLOTS, Hardware
from tramposim._native.scheduler cimport scheduler_room
from tramposim._native.uarch cimport MISPREDICT, RENAME_WIDTH, REORDER_BUFFER, SCHEDULER


cdef inline int64_t rename_slot(Hardware *unit, int64_t earliest) noexcept nogil:
    """Take the next rename slot, at `earliest` or later; return its cycle."""
    cdef int64_t cycle = unit.rename_cycle
    cdef int64_t oldest
    cdef int cause = unit.front.cause
    if earliest > cycle:
        cycle = earliest
    oldest = unit.slot_retire[(unit.slot_count - unit.core.rob) & (SLOTS - 1)]
    if oldest > cycle:
        cycle = oldest
        cause = REORDER_BUFFER
    if cycle > unit.rename_cycle:
        unit.stalls[cause] += cycle - unit.rename_cycle
        unit.stalled = cause
        unit.rename_cycle = cycle
        unit.rename_used = 0
    elif unit.rename_used >= unit.core.rename_width:
        unit.stalls[<int>RENAME_WIDTH] += 1
        unit.stalled = RENAME_WIDTH
        unit.rename_cycle += 1
        unit.rename_used = 0
    unit.rename_used += 1
    unit.slot_alloc[unit.slot_count & (SLOTS - 1)] = unit.rename_cycle
    unit.slot_count += 1
    return unit.rename_cycle


cdef inline int64_t rename_wait(Hardware *unit, int64_t cycle, int cause) noexcept nogil:
    """Rename stalls until `cycle`."""
    if cycle > unit.rename_cycle:
        unit.stalls[cause] += cycle - unit.rename_cycle
        unit.stalled = cause
        unit.rename_cycle = cycle
        unit.rename_used = 1
    return unit.rename_cycle


cdef inline void rename_recover(Hardware *unit, int64_t cycle) noexcept nogil:
    """Rename takes nothing of the right path before `cycle`, whatever was delivered."""
    if cycle > unit.rename_cycle:
        rename_wait(unit, cycle, MISPREDICT)
        unit.rename_used = 0


cdef inline int64_t rename_enter(Hardware *unit, int pool, int64_t alloc) noexcept nogil:
    """Wait for a scheduler entry; rename stalls with it."""
    cdef int64_t cycle = scheduler_room(&unit.scheduler, pool, alloc)
    if cycle > alloc:
        return rename_wait(unit, cycle, SCHEDULER)
    return alloc
