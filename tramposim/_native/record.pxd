"""Records of uops, for those who ask why a pass took its cycles."""

from libc.stdint cimport int64_t, uint8_t

from tramposim._native.fetch cimport fetch_block
from tramposim._native.frontend cimport LOOP_STREAMS, frontend_deliver
from tramposim._native.hardware cimport Flight, Hardware
from tramposim._native.stages cimport StageRec, UopStageRec
from tramposim._native.uarch cimport NO_REGISTER, InsnRec, UopRec


cdef inline int64_t note_delivery(
    Hardware *unit, const InsnRec *insn, StageRec *stage, int64_t room
) noexcept nogil:
    """Fetch and deliver an instruction; the uop queue has room from cycle `room` on."""
    cdef int64_t delivered
    stage.resumed = unit.front.cycle
    stage.resumed_cause = <uint8_t>unit.front.cause
    if unit.memory != NULL and unit.front.loop != LOOP_STREAMS:
        fetch_block(&unit.fetch, unit.memory, &unit.front, insn)
    stage.fetched = unit.front.cycle
    stage.queued = room > unit.front.cycle and unit.front.loop != LOOP_STREAMS
    delivered = frontend_deliver(&unit.front, insn, room)
    stage.delivered_cause = <uint8_t>unit.front.cause
    return delivered


cdef inline void note_uop(
    Hardware *unit, const Flight *flight, const UopRec *uop, int64_t done
) noexcept nogil:
    """A uop with its result in cycle `done`, before others can see it."""
    cdef UopStageRec *noted = unit.noted
    cdef const uint8_t *registers = &uop.src0
    cdef int64_t last = -1
    cdef int i
    unit.noted += 1
    noted.renamed = flight.alloc
    noted.ready = flight.sources
    noted.started = flight.start
    noted.done = done
    noted.slot = unit.slot_count
    noted.cause = <uint8_t>flight.why
    noted.stalled = <uint8_t>unit.stalled
    noted.port = <uint8_t>unit.scheduler.port
    noted.source = NO_REGISTER
    for i in range(4):
        if registers[i] == NO_REGISTER:
            break
        if unit.ready[registers[i]] > last:
            last = unit.ready[registers[i]]
            noted.source = registers[i]
