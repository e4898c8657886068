"""The loop buffer (Intel's loop stream detector): small loops stay in the uop queue.

A loop is what lies between a direct branch back and its own next execution. If two iterations in
a row took the same way, all their uops came from the uop cache and fit into the queue, the queue
keeps them and delivers them again and again: fetch and prediction stand still, no window of code
and no taken branch costs anything. What cannot be kept are calls, returns, indirect branches,
microcode and explicit changes of the stack pointer (`UNLOOPED`). It ends with the first branch
that goes another way (Intel optimization manual, section on the loop stream detector).

The last uop that the queue holds and the first one are never renamed in the same cycle; so that
this costs less, the queue holds a short loop several times (Abel and Reineke, "uiCA: Accurate
Throughput Prediction of Basic Blocks on Recent Intel Microarchitectures", ICS 2022).
"""

from libc.string cimport memset
from libc.stdint cimport int64_t, uint64_t

from tramposim._native.frontend cimport LOOP_STREAMS, LOOP_UNKNOWN, LOOP_WATCHED
from tramposim._native.uarch cimport CONDITIONAL, JUMP


cdef void loop_open(LoopBuffer *unit, const CoreParams *core) noexcept nogil:
    cdef int i
    memset(unit, 0, sizeof(LoopBuffer))
    unit.uops = core.loop_buffer_uops
    for i in range(UNROLLINGS):
        unit.copies[i] = core.loop_copies[i]
        unit.largest[i] = core.loop_largest[i]


cdef void _watch(
    LoopBuffer *unit, FrontEnd *front, uint64_t closing, int64_t slots
) noexcept nogil:
    front.loop = LOOP_WATCHED
    unit.closing = closing
    unit.began = slots
    unit.size = 0
    unit.passed = 0
    unit.known = 0
    unit.same = True


cdef void _close(LoopBuffer *unit, FrontEnd *front, int64_t slots) noexcept nogil:
    """An iteration of the watched loop is over: stream it if it was as the one before."""
    cdef int64_t size = slots - unit.began
    cdef int i
    if unit.same and unit.passed == unit.known and size == unit.size and size <= unit.uops:
        front.loop = LOOP_STREAMS
        unit.iteration = 0
        unit.held = 1
        for i in range(UNROLLINGS):
            if size <= unit.largest[i]:
                unit.held = unit.copies[i]
                break
    unit.began = slots
    unit.size = size
    unit.known = unit.passed
    unit.passed = 0
    unit.same = True


cdef int _streamed(LoopBuffer *unit, FrontEnd *front, uint64_t pc, bint taken) noexcept nogil:
    """A branch while the loop streams: whether it goes the loop's way."""
    cdef uint64_t expected = unit.closing
    if unit.passed < unit.known:
        expected = unit.taken[unit.passed]
    if taken != (pc == expected):
        front.loop = LOOP_UNKNOWN
        return LOOP_LEFT
    if not taken:
        return LOOP_GOES_ON
    if unit.passed < unit.known:
        unit.passed += 1
        return LOOP_GOES_ON
    unit.passed = 0
    unit.iteration += 1
    if unit.iteration < unit.held:
        return LOOP_GOES_ON
    unit.iteration = 0
    return LOOP_AGAIN


cdef int loop_branch(
    LoopBuffer *unit, FrontEnd *front, const InsnRec *insn, uint64_t next_pc, bint taken,
    int64_t slots
) noexcept nogil:
    """A branch that was predicted right, after it was renamed; `slots`: renamed so far."""
    if front.loop == LOOP_STREAMS:
        return _streamed(unit, front, insn.pc, taken)
    if not taken:
        return LOOP_NOTHING
    if insn.branch != CONDITIONAL and insn.branch != JUMP:
        front.loop = LOOP_UNKNOWN
        return LOOP_NOTHING
    if next_pc <= insn.pc:
        if front.loop == LOOP_UNKNOWN or insn.pc != unit.closing:
            _watch(unit, front, insn.pc, slots)
            return LOOP_NOTHING
        _close(unit, front, slots)
        return LOOP_AGAIN if front.loop == LOOP_STREAMS else LOOP_NOTHING
    if front.loop == LOOP_WATCHED:
        if unit.passed == LOOP_BRANCHES or slots - unit.began > unit.uops:
            front.loop = LOOP_UNKNOWN
            return LOOP_NOTHING
        if unit.passed >= unit.known or unit.taken[unit.passed] != insn.pc:
            unit.same = False
        unit.taken[unit.passed] = insn.pc
        unit.passed += 1
    return LOOP_NOTHING
