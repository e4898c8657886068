"""Retirement: in program order, so many slots per cycle; stores go to the cache behind it."""

from libc.stdint cimport int64_t

from tramposim._native.hardware cimport LOADS, SLOTS, SLOTS_USED, Flight, Hardware
from tramposim._native.lsu cimport lsu_commit
from tramposim._native.memory cimport memory_data
from tramposim._native.uarch cimport RENAME_WIDTH, RETIRE_WIDTH


cdef inline void retire(
    Hardware *unit, const Flight *flight, int64_t latest, int64_t first_slot, int cause
) noexcept nogil:
    """Retire an instruction whose last result is there in cycle `latest`, because of `cause`."""
    cdef int64_t before = unit.retired
    cdef int64_t slot
    cdef int i
    if latest < unit.rename_cycle:
        latest = unit.rename_cycle
        cause = RENAME_WIDTH
    if latest > unit.retired:
        unit.waits[cause] += latest - unit.retired
        unit.retired = latest
        unit.retire_used = 0
    for slot in range(first_slot, unit.slot_count):
        if unit.retire_used >= unit.core.retire_width:
            unit.retired += 1
            unit.retire_used = 0
            unit.waits[<int>RETIRE_WIDTH] += 1
        unit.retire_used += 1
        unit.slot_retire[slot & (SLOTS - 1)] = unit.retired
    for i in range(flight.reads):
        unit.load_retire[(unit.load_count - 1 - i) & (LOADS - 1)] = unit.retired
    unit.events[SLOTS_USED] += unit.slot_count - first_slot
    unit.share[flight.number] += unit.retired - before


cdef inline void retire_store(Hardware *unit, const Flight *flight) noexcept nogil:
    """Send the newest store of an instruction that has retired on to the cache."""
    # A locked store reaches the cache as part of its operation.
    cdef int64_t done = unit.lock_done if flight.locked else unit.retired
    if unit.memory != NULL and not flight.locked and flight.store_size:
        # The line is asked for when the store retires; stores behind it wait in order.
        done = memory_data(unit.memory, flight.store.address, flight.store_size, flight.insn.pc,
                           done - unit.core.l1_latency)
    lsu_commit(&unit.lsu, flight.store, done)
    if not flight.locked:
        unit.drained = flight.store.commit + unit.core.store_drain
