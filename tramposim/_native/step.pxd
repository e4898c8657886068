"""One instruction through all stages, from delivery to retirement."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from tramposim._native.branches cimport branch
from tramposim._native.execute cimport (
    execute_load, execute_on_port, execute_store_address, execute_store_data)
from tramposim._native.fetch cimport fetch_block, fetch_redirect
from tramposim._native.frontend cimport LOOP_STREAMS, frontend_deliver, frontend_redirect
from tramposim._native.hardware cimport INSTRUCTIONS, SLOTS, UOPS, Flight, Hardware
from tramposim._native.record cimport note_delivery, note_uop
from tramposim._native.rename cimport rename_slot, rename_wait
from tramposim._native.retire cimport retire, retire_store
from tramposim._native.stages cimport StageRec
from tramposim._native.uarch cimport (
    BLOCK, BRANCH, DEPENDENCY, DRAIN, EARLY_FLAGS, ELIMINATED, EXEC, FIRST_PORT, FOLDS,
    LOAD, LOCKED_OPERATION, MEMORY_ACCESS, MOVE_STACK, NOT_BRANCH, NO_REGISTER, READ_STACK,
    RENAME_WIDTH, SERIALIZED, STORE_ADDRESS, STORE_DATA, UNPIPELINED, AccessRec, InsnRec, UopRec)


cdef inline void read_sources(Hardware *unit, Flight *flight, const UopRec *uop) noexcept nogil:
    """When the uop's registers are there."""
    cdef const int64_t *ready = unit.ready
    cdef int64_t sources = flight.alloc
    if uop.src0 != NO_REGISTER:
        flight.value = ready[uop.src0]
        if flight.value > sources:
            sources = flight.value
        if uop.src1 != NO_REGISTER:
            if ready[uop.src1] > sources:
                sources = ready[uop.src1]
            if uop.src2 != NO_REGISTER:
                if ready[uop.src2] > sources:
                    sources = ready[uop.src2]
                if uop.src3 != NO_REGISTER and ready[uop.src3] > sources:
                    sources = ready[uop.src3]
    flight.why = DEPENDENCY if sources > flight.alloc + 1 else -1
    if uop.flags & DRAIN and unit.completed > sources:
        sources = unit.completed
        flight.why = SERIALIZED
    flight.sources = sources


cdef inline int64_t execute(Hardware *unit, Flight *flight, const UopRec *uop) noexcept nogil:
    """The cycle of the uop's result."""
    flight.start = -1
    if uop.kind == EXEC:
        return execute_on_port(unit, flight, uop)
    if uop.kind == LOAD:
        return execute_load(unit, flight, uop)
    if uop.kind == STORE_ADDRESS:
        return execute_store_address(unit, flight, uop)
    if uop.kind == STORE_DATA:
        return execute_store_data(unit, flight, uop)
    if uop.kind == ELIMINATED:
        if uop.flags & MOVE_STACK:
            unit.stack_moved = unit.core.stack_engine != 0
            unit.stack_register = uop.src0
        if flight.value > 0 and uop.src0 != NO_REGISTER:
            return flight.value
    return flight.alloc


cdef inline void synchronise_stack(Hardware *unit, Flight *flight) noexcept nogil:
    """The uop that adds what the stack engine has kept to the stack pointer, a cycle's work."""
    cdef int64_t *ready = &unit.ready[unit.stack_register]
    flight.alloc = rename_slot(unit, flight.delivered)
    ready[0] = max(ready[0], flight.alloc + 1) + 1


cdef inline int64_t write_results(
    Hardware *unit, const Flight *flight, const UopRec *uop, int64_t done
) noexcept nogil:
    """The uop's registers are there in cycle `done`; return the cycle of the last."""
    cdef int64_t *ready = unit.ready
    if uop.dst0 == NO_REGISTER:
        return done
    ready[uop.dst0] = done
    unit.folded &= ~(<uint64_t>1 << uop.dst0)
    if uop.folding & FOLDS and uop.kind == ELIMINATED:
        unit.folded |= <uint64_t>1 << uop.dst0
    if uop.flags & EARLY_FLAGS:
        done = (done if done > flight.alloc else flight.alloc) + 1
    if uop.dst1 != NO_REGISTER:
        ready[uop.dst1] = done
        if uop.dst2 != NO_REGISTER:
            ready[uop.dst2] = done
            if uop.dst3 != NO_REGISTER:
                ready[uop.dst3] = done
    return done


cdef inline int cause_of(
    const Hardware *unit, const Flight *flight, const UopRec *uop
) noexcept nogil:
    """What the uop's result waited for."""
    if (flight.start > flight.sources and flight.start > flight.alloc + 1
            and flight.why != MEMORY_ACCESS):
        return UNPIPELINED if uop.occupancy > 1 else FIRST_PORT + unit.scheduler.port
    return flight.why if flight.why >= 0 else RENAME_WIDTH


cdef inline void step(
    Hardware *unit, const InsnRec *insn, const UopRec *uops, int32_t number, uint64_t next_pc,
    const AccessRec *access, int access_count, StageRec *stage
) noexcept nogil:
    """Execute static instruction `number`, whose uops begin at `uops`.

    `stage` receives what it went through, if asked for (not NULL).
    """
    cdef Flight flight
    cdef const UopRec *uop
    cdef int64_t done, latest = 0, room = 0, resolved = 0, first_slot = unit.slot_count
    cdef int64_t issued = -1
    cdef int u, k, slots, offset, cause = RENAME_WIDTH
    flight.insn = insn
    flight.access = access
    flight.access_count = access_count
    flight.number = number
    flight.value = 0
    flight.reads = 0
    flight.writes = 0
    flight.locked = False
    flight.store = NULL
    flight.store_size = 0
    unit.events[INSTRUCTIONS] += 1
    unit.events[UOPS] += insn.uops
    if unit.slot_count > unit.core.queue_uops:
        room = unit.slot_alloc[(unit.slot_count - unit.core.queue_uops) & (SLOTS - 1)]
    if unit.noted != NULL:
        flight.delivered = note_delivery(unit, insn, stage, room)
    else:
        if unit.memory != NULL and unit.front.loop != LOOP_STREAMS:
            fetch_block(&unit.fetch, unit.memory, &unit.front, insn)
        flight.delivered = frontend_deliver(&unit.front, insn, room)
    flight.alloc = unit.rename_cycle
    if flight.delivered > flight.alloc:
        flight.alloc = flight.delivered
    for u in range(insn.uops):
        uop = &uops[u]
        slots = uop.slots
        offset = 0
        if uop.flags & READ_STACK and unit.stack_moved:
            if unit.core.stack_sync_reads or uop.dst0 == unit.stack_register:
                unit.stack_moved = False
                for k in range(unit.core.stack_sync_slots):
                    synchronise_stack(unit, &flight)
            elif uop.kind == ELIMINATED:
                # A copy of the stack pointer is then the sum.
                offset = unit.core.stack_sync_slots
        for k in range(slots):
            flight.alloc = rename_slot(unit, flight.delivered)
        read_sources(unit, &flight, uop)
        done = execute(unit, &flight, uop)
        if offset:
            done = max(done, flight.alloc) + offset
        if unit.noted != NULL:
            note_uop(unit, &flight, uop, done)
        done = write_results(unit, &flight, uop, done)
        if stage != NULL and uop.kind <= STORE_DATA and (issued < 0 or flight.start < issued):
            issued = flight.start
        if done > latest:
            latest = done
            cause = cause_of(unit, &flight, uop)
        if uop.flags & (BRANCH | BLOCK):
            if uop.flags & BRANCH:
                resolved = done
            if uop.flags & BLOCK:
                frontend_redirect(&unit.front, done, SERIALIZED)
                fetch_redirect(&unit.fetch, &unit.front)
                flight.alloc = rename_wait(unit, done, SERIALIZED)
    if latest > unit.completed:
        unit.completed = latest
    retire(unit, &flight, latest, first_slot, LOCKED_OPERATION if flight.locked else cause)
    if stage != NULL:
        stage.delivered = flight.delivered
        stage.renamed = flight.alloc
        stage.issued = issued
        stage.uops = insn.uops
        stage.executed = latest
        stage.retired = unit.retired
    if flight.store != NULL:
        retire_store(unit, &flight)
        if stage != NULL:
            stage.committed = flight.store.commit
    if insn.branch != NOT_BRANCH:
        branch(unit, insn, next_pc, resolved)
    unit.after_taken = insn.branch != NOT_BRANCH and next_pc != insn.pc + insn.size
