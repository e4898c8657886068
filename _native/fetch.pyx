"""Instruction fetch from caches that may miss: the predictor runs ahead of delivery.

Fetch is decoupled (Reinman, Calder and Austin, "Fetch directed instruction prefetching",
MICRO 1999; so are all cores modelled): the branch predictor names a block of code per cycle and
asks for its line at once, up to `fetch_queue` blocks before delivery. Code misses therefore
overlap for as long as the predictor knows the way; at a branch that no BTB knows it goes
straight on until decode puts it right (`decode_resteer`), and after a misprediction it starts
anew. A window of code that the uop cache holds needs no line.
"""

from libc.string cimport memset
from libc.stdint cimport int64_t, uint64_t

from tramposim._native.caches cimport NO_KEY, cache_fill, cache_find
from tramposim._native.memory cimport BRANCH_TARGET, LINE_SHIFT, memory_code, memory_miss
from tramposim._native.uarch cimport MEMORY_ACCESS


cdef int fetch_open(Fetch *unit, const FetchParams *params, bint cached) except -1:
    memset(unit, 0, sizeof(Fetch))
    if not 1 <= params.fetch_queue < MOST_BLOCKS:
        raise ValueError("fetch queue size out of range")
    unit.params = params[0]
    unit.cached = cached
    unit.line = NO_KEY
    return 0


cdef inline void _until(FrontEnd *front, int64_t cycle) noexcept nogil:
    """Nothing is delivered before `cycle`."""
    if cycle > front.cycle:
        front.cycle = cycle
        front.cause = MEMORY_ACCESS
        front.used = 0
        front.limit = front.decode_width
        front.window = NO_KEY


cdef void fetch_block(
    Fetch *unit, Memory *memory, FrontEnd *front, const InsnRec *insn
) noexcept nogil:
    """Before the delivery of `insn`: wait for its code if it begins a new line."""
    cdef uint64_t last = insn.pc + insn.size - 1
    cdef uint64_t line = last >> LINE_SHIFT, window, victim
    cdef int64_t limit, ready
    cdef bint present
    if line == unit.line:
        return
    unit.ahead += 1
    limit = unit.delivered[(unit.count - unit.params.fetch_queue) % MOST_BLOCKS]
    if unit.count >= <uint64_t>unit.params.fetch_queue and limit > unit.ahead:
        unit.ahead = limit
    ready = unit.ahead
    present = False
    if unit.cached:
        window = last >> front.window_shift
        present = cache_find(&memory.windows, window) != NULL
        if not present:
            cache_fill(&memory.windows, window, &victim)
    if not present:
        if insn.pc >> LINE_SHIFT != line and insn.pc >> LINE_SHIFT != unit.line:
            ready = memory_code(memory, insn.pc >> LINE_SHIFT, insn.pc, unit.ahead)
        limit = memory_code(memory, line, insn.pc, unit.ahead)
        if limit > ready:
            ready = limit
    if unit.cached and present != front.cached:
        front.cached = present
        front.window = NO_KEY
        if not present:
            _until(front, front.cycle + unit.params.uop_cache_switch)
    _until(front, ready)
    unit.line = line
    unit.delivered[unit.count % MOST_BLOCKS] = front.cycle
    unit.count += 1


cdef void fetch_taken(Fetch *unit, FrontEnd *front, int bubbles) noexcept nogil:
    """A taken branch ended the block; its target begins one."""
    if unit.cached and not front.cached:
        front.cycle += unit.params.decode_taken_bubble
    unit.ahead += bubbles
    unit.line = NO_KEY


cdef void fetch_resteer(
    Fetch *unit, Memory *memory, FrontEnd *front, uint64_t pc
) noexcept nogil:
    """Decode finds a branch that no BTB knew: the predictor starts anew behind it."""
    memory_miss(memory, BRANCH_TARGET, 3, pc, pc, unit.params.decode_resteer)
    _until(front, front.cycle + unit.params.decode_resteer)
    unit.ahead = front.cycle
    unit.line = NO_KEY


cdef void fetch_redirect(Fetch *unit, const FrontEnd *front) noexcept nogil:
    """Delivery was restarted: the predictor starts anew with it."""
    unit.ahead = front.cycle
    unit.line = NO_KEY
