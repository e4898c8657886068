"""Execution of a uop, by kind: from its rename slot to the cycle of its result.

Each function takes the uop of a `Flight` whose sources are known and returns the cycle in which
its result can be used; the flight keeps when it issued and what the result waited for.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from tramposim._native.hardware cimport (
    BLOCKS, FORWARDS, LOADS, LOADS_DONE, LOCKS, RENAMES, STORES_DONE, Flight, Hardware)
from tramposim._native.lsu cimport LoadOutcome, lsu_load, lsu_store, lsu_store_room
from tramposim._native.memory cimport memory_data, memory_translate
from tramposim._native.rename cimport rename_enter, rename_wait
from tramposim._native.scheduler cimport scheduler_issue
from tramposim._native.uarch cimport (
    ALIAS, BLOCKED_FORWARDING, DENSE, FORWARDING, LOAD_BUFFER, LOCKED, LOCKED_OPERATION,
    MEMORY_ACCESS, MOVE_STACK, NEEDS_SUM, NO_REGISTER, ORDERS_LOADS, PAIR, RETURN,
    STORE_BUFFER, UNRENAMED, AccessRec, UopRec)


cdef inline const AccessRec *next_access(
    const Flight *flight, int skip, int write
) noexcept nogil:
    """The recorded read (or write) after `skip` others, NULL if there is none."""
    cdef int k
    for k in range(flight.access_count):
        if (flight.access[k].flags & 1) == write:
            if skip == 0:
                return &flight.access[k]
            skip -= 1
    return NULL


cdef inline int64_t execute_on_port(
    Hardware *unit, Flight *flight, const UopRec *uop
) noexcept nogil:
    """A uop that computes."""
    cdef int64_t done
    flight.alloc = rename_enter(unit, uop.pool, flight.alloc)
    flight.start = scheduler_issue(&unit.scheduler, uop, flight.alloc, flight.sources)
    done = flight.start + uop.latency
    if uop.folding & NEEDS_SUM and (unit.folded >> (uop.src0 & 63)) & 1:
        done += unit.core.folded_source_wait
    return done


cdef inline uint32_t banks_of(const AccessRec *access) noexcept nogil:
    """The banks of the first-level cache, four bytes of a line each, that an access needs."""
    cdef uint32_t first = (access.address >> 2) & 15, banks
    cdef uint64_t last = (access.address + access.size - 1) >> 2
    if access.size == 0 or last - (access.address >> 2) >= 15:
        return 0xFFFF
    banks = ((<uint32_t>2 << (last - (access.address >> 2))) - 1) << first
    return (banks | banks >> 16) & 0xFFFF


cdef inline uint32_t narrowed(const Hardware *unit, uint32_t ports) noexcept nogil:
    """The ports on which loads of one and the same bank can start together."""
    cdef uint32_t kept = 0, lowest
    cdef int k
    for k in range(unit.core.same_bank_load_ports):
        lowest = ports & (~ports + 1)
        kept |= lowest
        ports &= ~lowest
    return kept if kept else ports


cdef inline int64_t load_issue(
    Hardware *unit, Flight *flight, const UopRec *uop, const AccessRec *used
) noexcept nogil:
    """Wait for load buffer, scheduler, fences and a port; return the cycle of issue."""
    cdef UopRec narrow
    cdef uint32_t banks = banks_of(used) if used != NULL else 0
    cdef int64_t start
    if unit.load_count >= unit.core.load_buffer:
        start = unit.load_retire[(unit.load_count - unit.core.load_buffer) & (LOADS - 1)]
        if start > flight.alloc:
            flight.alloc = rename_wait(unit, start, LOAD_BUFFER)
    flight.alloc = rename_enter(unit, uop.pool, flight.alloc)
    if unit.fence > flight.sources:
        flight.sources = unit.fence
        flight.why = LOCKED_OPERATION
    if uop.flags & LOCKED:
        unit.events[LOCKS] += 1
        flight.locked = True
        flight.why = LOCKED_OPERATION
        if unit.memory_done > flight.sources:
            flight.sources = unit.memory_done
        if unit.lock_done > flight.sources:
            flight.sources = unit.lock_done
        if unit.drained > flight.sources:
            flight.sources = unit.drained
    if banks & unit.last_banks:
        narrow = uop[0]
        narrow.ports = narrowed(unit, uop.ports)
        start = scheduler_issue(&unit.scheduler, &narrow, flight.alloc, flight.sources)
    else:
        start = scheduler_issue(&unit.scheduler, uop, flight.alloc, flight.sources)
    unit.last_banks = banks
    return start


cdef inline bint renamable(
    const Hardware *unit, const Flight *flight, const AccessRec *read
) noexcept nogil:
    """Whether a load has the size of those that memory renaming covers, never two bytes alone."""
    cdef int k
    if read.size >= unit.core.rename_memory_least and read.size != 2:
        return True
    if not unit.core.rename_memory_modified:
        return False
    for k in range(flight.access_count):
        if flight.access[k].flags & 1 and flight.access[k].address == read.address:
            return True
    return False


cdef inline int64_t execute_load(
    Hardware *unit, Flight *flight, const UopRec *uop
) noexcept nogil:
    """A load: from a store under way, the first level or memory."""
    cdef const AccessRec *used = next_access(flight, flight.reads, 0)
    cdef LoadOutcome outcome
    cdef int64_t start = load_issue(unit, flight, uop, used)
    cdef int64_t done = start + (uop.latency if uop.latency else unit.core.l1_latency)
    cdef int64_t arrives = 0
    flight.start = start
    unit.events[LOADS_DONE] += 1
    if unit.memory != NULL and used != NULL:
        arrives = memory_translate(unit.memory, used.address, used.size, flight.insn.pc, start)
        arrives = memory_data(unit.memory, used.address, used.size, flight.insn.pc, arrives)
    flight.reads += 1
    if uop.flags & LOCKED:
        done += arrives - start - unit.core.l1_latency if arrives else 0
        unit.lock_done = done
        if unit.core.lock_orders_loads:
            unit.fence = start + unit.core.lock_hold
    elif used != NULL:
        outcome = lsu_load(&unit.lsu, used.address, used.size, flight.number, start, flight.alloc,
                           <int>(done - start),
                           not (uop.flags & UNRENAMED or flight.insn.flags & DENSE)
                           and renamable(unit, flight, used),
                           flight.insn.branch == RETURN, not uop.flags & MOVE_STACK)
        if outcome.ready > done:
            flight.why = (ALIAS if outcome.aliased
                          else BLOCKED_FORWARDING if outcome.blocked else FORWARDING)
        done = outcome.ready
        unit.events[FORWARDS] += outcome.forwarded
        unit.events[RENAMES] += outcome.renamed
        unit.events[BLOCKS] += outcome.blocked
        if outcome.forwarded or outcome.renamed:
            arrives = 0
    if arrives > done:
        done = arrives
        flight.why = MEMORY_ACCESS
    unit.load_count += 1
    if done > unit.memory_done:
        unit.memory_done = done
    if flight.insn.flags & ORDERS_LOADS and done > unit.fence:
        unit.fence = done
    return done


cdef inline int64_t execute_store_address(
    Hardware *unit, Flight *flight, const UopRec *uop
) noexcept nogil:
    """The address of a store, which enters the store buffer."""
    cdef const AccessRec *used
    cdef const AccessRec *last
    cdef uint64_t address = 0
    cdef int size = 0
    cdef int64_t start = lsu_store_room(&unit.lsu)
    if start > flight.alloc:
        flight.alloc = rename_wait(unit, start, STORE_BUFFER)
    flight.alloc = rename_enter(unit, uop.pool, flight.alloc)
    start = scheduler_issue(&unit.scheduler, uop, flight.alloc, flight.sources)
    flight.start = start
    used = next_access(flight, flight.writes, 1)
    flight.writes += 1
    if used != NULL:
        address = used.address
        size = used.size
        if flight.insn.flags & PAIR:
            last = &flight.access[flight.access_count - 1]
            size = <int>(last.address - used.address + last.size)
            if size < used.size:
                size = used.size
    flight.store_size = size
    flight.store = lsu_store(&unit.lsu, address, size, flight.number)
    flight.store.issued = start
    flight.store.pushed = uop.flags & MOVE_STACK != 0
    flight.store.unnamed = uop.flags & UNRENAMED != 0
    unit.events[STORES_DONE] += 1
    if unit.memory != NULL and used != NULL:
        return memory_translate(unit.memory, address, size, flight.insn.pc, start) + 1
    return start + 1


cdef inline int64_t execute_store_data(
    Hardware *unit, Flight *flight, const UopRec *uop
) noexcept nogil:
    """The data of the newest store."""
    flight.alloc = rename_enter(unit, uop.pool, flight.alloc)
    flight.start = scheduler_issue(&unit.scheduler, uop, flight.alloc, flight.sources)
    if flight.store != NULL:
        # No latency: the operation on memory hands its result over as it executes.
        flight.store.data = flight.start + uop.latency - 1
        flight.store.value = flight.value if uop.src0 != NO_REGISTER else flight.alloc
        flight.store.commit = flight.start + 1
    return flight.start + 1
