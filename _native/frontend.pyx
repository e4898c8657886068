"""Instruction delivery: when the uops of an instruction reach the rename stage.

Two sources. The uop cache delivers, per cycle, at most `width` uops of one aligned span of code.
Legacy decode gets the bytes of one aligned block per cycle and marks at most `predecode_width`
instructions of it (one that lies in two blocks counts in both), stalls on length-changing
prefixes, and decodes at most `decode_width` instructions per cycle, in order, of which only the
first `decode_complex` may be of several uops; a group of instructions from two blocks is narrower
where the core decodes so (`cross_width`, and only if the first block left at most half of that). A
taken branch ends the cycle's delivery.

Prediction is decoupled: it produces the address of a block per cycle (more, where a branch costs
bubbles) and runs ahead of delivery by at most `ahead` cycles, so that its bubbles show only where
delivery has caught up with it. A redirect restarts both at a given cycle.

A third source, where the core has one, is its loop buffer (loopbuffer.pyx): uops of a loop that are
in the uop queue already.
"""

from libc.string cimport memset
from libc.stdint cimport int64_t, uint64_t

from tramposim._native.uarch cimport (
    BUBBLE, FROM_DECODE, FROM_UOP_CACHE, LENGTH_CHANGING, PREFIX, UNLOOPED, CoreParams, InsnRec)

cdef uint64_t NOWHERE = 0xFFFFFFFFFFFFFFFFULL


cdef int _log2(int value) except -1:
    cdef int shift = 0
    if value <= 0 or value & (value - 1):
        raise ValueError("fetch sizes are powers of two")
    while (1 << shift) < value:
        shift += 1
    return shift


cdef int frontend_open(FrontEnd *unit, const CoreParams *core, bint cached) except -1:
    memset(unit, 0, sizeof(FrontEnd))
    unit.cached = cached and core.uop_cache_width > 0
    unit.window_shift = _log2(core.uop_cache_window) if core.uop_cache_window else 6
    unit.span_shift = _log2(core.uop_cache_span) if core.uop_cache_span else 6
    unit.width = core.uop_cache_width
    unit.fetch_shift = _log2(core.fetch_bytes)
    unit.decode_width = core.decode_width
    unit.decode_complex = core.decode_complex
    unit.cross_width = core.decode_cross_width
    unit.predecode_width = core.predecode_width
    unit.limit = core.decode_width
    unit.lcp_stall = core.lcp_stall
    unit.ahead = core.fetch_queue
    unit.window = NOWHERE
    unit.block = NOWHERE
    return 0


cdef void _next_cycle(FrontEnd *unit) noexcept nogil:
    unit.cycle += 1
    unit.cause = FROM_DECODE
    unit.used = 0
    unit.limit = unit.decode_width


cdef void _predict(FrontEnd *unit, int cycles) noexcept nogil:
    """Prediction of the block that begins in this cycle takes `cycles`; delivery may wait."""
    if unit.predicted < unit.cycle - 1 - unit.ahead:
        unit.predicted = unit.cycle - 1 - unit.ahead
    unit.predicted += cycles
    if unit.predicted > unit.cycle:
        unit.cycle = unit.predicted
        unit.cause = BUBBLE


cdef int64_t frontend_deliver(FrontEnd *unit, const InsnRec *insn, int64_t room) noexcept nogil:
    """Cycle in which `insn` is delivered; `room`: first cycle with room in the uop queue."""
    cdef uint64_t window
    cdef int slots = insn.slots
    if unit.loop != LOOP_UNKNOWN:
        if unit.loop == LOOP_STREAMS:
            return unit.cycle
        if insn.flags & UNLOOPED or not unit.cached:
            unit.loop = LOOP_UNKNOWN
    if room > unit.cycle:
        unit.cycle = room
        unit.used = 0
        unit.limit = unit.decode_width
    if unit.cached:
        window = insn.pc >> unit.span_shift
        if window != unit.window:
            if unit.window != NOWHERE:
                unit.cycle += 1
                unit.used = 0
                unit.cause = FROM_UOP_CACHE
                _predict(unit, 1)
            unit.window = window
        if unit.block == NOWHERE:
            unit.block = insn.pc
        elif insn.pc + insn.size > unit.block + (<uint64_t>1 << unit.window_shift):
            if unit.predicted < unit.unlocked:
                _predict(unit, 1)
            unit.block = insn.pc
        if unit.used + slots > unit.width and unit.used:
            unit.cycle += 1
            unit.used = 0
            unit.cause = FROM_UOP_CACHE
        unit.used += slots
        while unit.used > unit.width:
            unit.used -= unit.width
            unit.cycle += 1
            unit.cause = FROM_UOP_CACHE
        return unit.cycle
    window = (insn.pc + insn.size - 1) >> unit.fetch_shift
    if insn.pc >> unit.fetch_shift == unit.window:
        unit.marked += 1
        if unit.marked > unit.predecode_width:
            unit.bytes_ready += 1
            unit.marked = 1
    if window != unit.window:
        unit.marked = 1
        if unit.window == NOWHERE:
            unit.bytes_ready = unit.cycle
        else:
            unit.bytes_ready += <int64_t>(window - unit.window) if window > unit.window else 1
            if unit.cross_width < unit.decode_width and unit.used:
                if unit.used * 2 > unit.cross_width:
                    _next_cycle(unit)
                else:
                    unit.limit = unit.cross_width
        unit.window = window
    if insn.flags & LENGTH_CHANGING:
        unit.bytes_ready += unit.lcp_stall
    if unit.bytes_ready > unit.cycle:
        unit.cycle = unit.bytes_ready - 1
        _next_cycle(unit)
        if insn.flags & LENGTH_CHANGING:
            unit.cause = PREFIX
    elif unit.bytes_ready < unit.cycle - 8:
        unit.bytes_ready = unit.cycle - 8
    if slots == 0:
        return unit.cycle
    if unit.used >= unit.limit or (
        insn.decode > 1 and unit.used >= unit.decode_complex
    ):
        _next_cycle(unit)
    unit.used += 1
    return unit.cycle


cdef void frontend_taken(FrontEnd *unit, int bubbles) noexcept nogil:
    """A taken branch was the last instruction delivered; `bubbles`: of its prediction."""
    unit.cycle += 1
    unit.cause = FROM_UOP_CACHE if unit.cached else FROM_DECODE
    _predict(unit, 1 + bubbles)
    unit.used = 0
    unit.limit = unit.decode_width
    unit.window = NOWHERE
    unit.block = NOWHERE


cdef void frontend_redirect(FrontEnd *unit, int64_t cycle, int cause) noexcept nogil:
    """Delivery restarts at `cycle` (misprediction, serialisation: the `cause`)."""
    unit.loop = LOOP_UNKNOWN
    if cycle > unit.cycle:
        unit.cycle = cycle
        unit.cause = cause
    unit.predicted = unit.cycle
    unit.used = 0
    unit.limit = unit.decode_width
    unit.window = NOWHERE
    unit.block = NOWHERE


cdef void frontend_loop(FrontEnd *unit, int64_t cycle, int cause) noexcept nogil:
    """The queue was emptied up to a loop's last uop: what comes next, from it or not, is there at
    `cycle`."""
    unit.cycle = cycle
    unit.cause = cause
    unit.predicted = cycle
    unit.used = 0
    unit.window = NOWHERE
    unit.block = NOWHERE
