"""Recognition of a core's steady state: its whole state is what it was some segments ago.

Nothing in the core depends on the absolute cycle or on how much was executed before. A state in
normal form counts cycles from the present one, stores from the newest, and forgets what is too
old to matter; two states with the same normal form have the same future, if the same is executed.
What executed between them then repeats, with all counts, for as long as the trace repeats.

The search is Brent's ("An improved Monte Carlo factorization algorithm", BIT 20, 1980): a state
is kept and compared with those that follow; if none of them is the same, a later one is kept,
at distances that double. A field that the normal form does not know about is compared as it is:
a new one that holds cycles has to be added to `_normal`, or no two states are the same.
"""

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from tramposim._native.frontend cimport LOOP_UNKNOWN
from tramposim._native.hardware cimport EVENT_COUNT, INSTRUCTIONS, LOADS, SLOTS, Hardware
from tramposim._native.lsu cimport STORES, TRUST, Lsu, Store
from tramposim._native.prediction cimport (
    predictors_normal, predictors_same_tables, predictors_save_tables, predictors_tables_size)
from tramposim._native.predictors cimport Predictors
from tramposim._native.scheduler cimport HORIZON, Cell
from tramposim._native.uarch cimport CAUSES_COUNT, REGISTERS

cdef enum:
    FIRST_GAP = 256         # instructions after which the first state is kept
    COMPARISON = 64         # instructions that execute in about the time of a comparison

cdef int64_t LONG_AGO = -(<int64_t>1 << 40)


cdef int steady_open(Steady *unit, int instructions, bint branches, bint doubling) except -1:
    """`doubling`: the search is Brent's, else every state is compared with the one before it."""
    memset(unit, 0, sizeof(Steady))
    unit.instructions = instructions
    unit.branches = branches
    unit.first_gap = FIRST_GAP if doubling else 0
    unit.due = FIRST_GAP
    unit.gap = unit.first_gap
    return 0


cdef void steady_close(Steady *unit) noexcept nogil:
    free(unit.kept)
    free(unit.scratch)
    free(unit.tables)
    free(unit.share)
    memset(unit, 0, sizeof(Steady))


cdef void steady_forget(Steady *unit, const Hardware *hardware) noexcept nogil:
    """What executes from now on is another trace."""
    unit.held = False
    unit.gap = unit.first_gap
    unit.due = hardware.events[INSTRUCTIONS]
    if unit.due == 0:
        unit.due = FIRST_GAP


cdef void steady_clear(Steady *unit, const Hardware *hardware) noexcept nogil:
    """The counters of events and shares are about to be set to zero."""
    cdef int64_t executed = hardware.events[INSTRUCTIONS]
    cdef int i
    unit.due -= executed
    unit.compare_at -= executed
    if not unit.held:
        return
    for i in range(<int>EVENT_COUNT):
        unit.events[i] -= hardware.events[i]
    for i in range(unit.instructions):
        unit.share[i] -= hardware.share[i]


cdef inline int64_t _since(int64_t cycle, int64_t origin, int64_t floor) noexcept nogil:
    """`cycle` counted from `origin`; all up to `floor` are the same."""
    return cycle - origin if cycle > floor else LONG_AGO


cdef int64_t _floor(const Hardware *hardware) noexcept nogil:
    """Cycles up to this one no longer matter to anything that is still to happen."""
    cdef int64_t floor = hardware.rename_cycle
    cdef const Lsu *lsu = &hardware.lsu
    if hardware.front.cycle < floor:
        floor = hardware.front.cycle
    if hardware.scheduler.now < floor:
        floor = hardware.scheduler.now
    # Old cycles count with what is added to them: latencies of forwarding, fetch run-ahead.
    return floor - (lsu.forward_latency + lsu.forward_block + lsu.forward_wait
                    + lsu.forward_commit + lsu.alias_wait + lsu.rename_latency
                    + hardware.front.ahead + 64)


cdef void _normal_stores(Lsu *to, const Lsu *lsu, int64_t origin, int64_t floor) noexcept nogil:
    """The stores that a load may still be fed by, newest first.

    They determine the tables of granules, but for entries that are too old to be used.
    """
    cdef int i
    cdef Store *store
    to.granules = NULL
    to.pair_store = NULL
    to.pair_trust = NULL
    memset(to.offsets, 0, sizeof(to.offsets))
    to.count = lsu.count if lsu.count < STORES else STORES
    to.last_commit = _since(lsu.last_commit, origin, floor)
    for i in range(STORES):
        store = &to.stores[i]
        store[0] = lsu.stores[(lsu.count - i) % STORES]
        store.number = 0
        store.data = _since(store.data, origin, floor)
        store.value = _since(store.value, origin, floor)
        store.issued = _since(store.issued, origin, floor)
        store.commit = _since(store.commit, origin, floor) if store.commit else 0


cdef size_t _normal(
    const Hardware *hardware, int instructions, bint branches, uint8_t *to, size_t room
) noexcept nogil:
    """Write the normal form (but for the predictors' tables); return its size, 0 if too large."""
    cdef Hardware *normal = <Hardware *>to
    cdef Predictors *predictors = <Predictors *>(to + sizeof(Hardware))
    cdef int64_t *ring = <int64_t *>(to + sizeof(Hardware) + sizeof(Predictors))
    cdef int32_t *pairs
    cdef uint8_t *trust
    cdef Cell *cells
    cdef int64_t origin = hardware.rename_cycle, floor = _floor(hardware), n, i
    cdef int64_t now = hardware.scheduler.now, end = hardware.scheduler.furthest
    if end < now:
        end = now
    n = hardware.core.queue_uops + hardware.core.rob + hardware.core.load_buffer
    if end - now > HORIZON or room < <size_t>(
            sizeof(Hardware) + sizeof(Predictors) + 8 * n + 8 * instructions
            + sizeof(Cell) * (end - now)):
        return 0
    memcpy(normal, hardware, sizeof(Hardware))
    memcpy(predictors, hardware.predictors, sizeof(Predictors))
    predictors_normal(predictors, hardware.front.predicted)
    normal.predictors = NULL
    # Without a memory that misses, fetch queues are not used.
    memset(&normal.fetch, 0, sizeof(normal.fetch))
    normal.front.cycle -= origin
    normal.front.bytes_ready = _since(normal.front.bytes_ready, origin, floor)
    normal.loop.began = 0
    if hardware.front.loop != LOOP_UNKNOWN:
        normal.loop.began = hardware.slot_count - hardware.loop.began
    normal.front.unlocked = max(normal.front.unlocked - normal.front.predicted, 0)
    # Only branches tell how long ago the last prediction was.
    normal.front.predicted = hardware.front.predicted - origin if branches else 0
    normal.scheduler.cells = NULL
    normal.scheduler.now -= origin
    normal.scheduler.furthest = 0
    normal.scheduler.port = 0
    _normal_stores(&normal.lsu, &hardware.lsu, origin, floor)
    for i in range(<int>REGISTERS):
        normal.ready[i] = _since(hardware.ready[i], origin, floor)
    normal.slot_alloc = NULL
    normal.slot_retire = NULL
    normal.load_retire = NULL
    normal.slot_count = min(hardware.slot_count, SLOTS)
    normal.load_count = min(hardware.load_count, LOADS)
    normal.rename_cycle = 0
    normal.retired -= origin
    normal.completed = _since(hardware.completed, origin, floor)
    normal.fence = _since(hardware.fence, origin, floor)
    normal.lock_done = _since(hardware.lock_done, origin, floor)
    normal.drained = _since(hardware.drained, origin, floor)
    normal.memory_done = _since(hardware.memory_done, origin, floor)
    memset(normal.stalls, 0, sizeof(normal.stalls))
    memset(normal.waits, 0, sizeof(normal.waits))
    memset(normal.events, 0, sizeof(normal.events))
    normal.share = NULL
    for i in range(hardware.core.queue_uops):
        ring[0] = _since(
            hardware.slot_alloc[(hardware.slot_count - 1 - i) & (SLOTS - 1)], origin, floor)
        ring += 1
    for i in range(hardware.core.rob):
        ring[0] = _since(
            hardware.slot_retire[(hardware.slot_count - 1 - i) & (SLOTS - 1)], origin, floor)
        ring += 1
    for i in range(hardware.core.load_buffer):
        ring[0] = _since(
            hardware.load_retire[(hardware.load_count - 1 - i) & (LOADS - 1)], origin, floor)
        ring += 1
    pairs = <int32_t *>ring
    memcpy(pairs, hardware.lsu.pair_store, 4 * instructions)
    trust = <uint8_t *>(pairs + instructions)
    for i in range(instructions):
        trust[i] = hardware.lsu.pair_trust[i]
        if trust[i] > TRUST + 1:
            trust[i] = TRUST + 1
    trust += instructions
    for i in range(now, end):
        memcpy(trust, &hardware.scheduler.cells[i & (HORIZON - 1)], sizeof(Cell))
        trust += sizeof(Cell)
    return trust - to


cdef bint _make_room(Steady *unit, const Hardware *hardware) noexcept nogil:
    """Have buffers for the present state; false if there is no memory."""
    cdef int64_t reserved = hardware.scheduler.furthest - hardware.scheduler.now
    cdef size_t wanted = sizeof(Hardware) + sizeof(Predictors) + 8 * (
        hardware.core.queue_uops + hardware.core.rob + hardware.core.load_buffer
        + unit.instructions) + 2 * sizeof(Cell) * <size_t>max(reserved, 256)
    cdef uint8_t *larger
    if unit.share == NULL:
        unit.share = <int64_t *>calloc(unit.instructions + 1, 8)
        if unit.branches:
            unit.tables = <uint8_t *>calloc(1, predictors_tables_size())
            if unit.tables == NULL:
                return False
    if unit.share == NULL:
        return False
    if wanted > unit.room:
        larger = <uint8_t *>realloc(unit.kept, wanted)
        if larger == NULL:
            return False
        unit.kept = larger
        larger = <uint8_t *>realloc(unit.scratch, wanted)
        if larger == NULL:
            return False
        unit.scratch = larger
        unit.room = wanted
    return True


cdef void _keep(Steady *unit, const Hardware *hardware, int64_t segment) noexcept nogil:
    unit.held = False
    unit.due = hardware.events[INSTRUCTIONS] + unit.gap
    unit.gap *= 2
    if not _make_room(unit, hardware):
        return
    unit.kept_size = _normal(
        hardware, unit.instructions, unit.branches, unit.kept, unit.room)
    if unit.kept_size == 0:
        return
    if unit.branches:
        predictors_save_tables(hardware.predictors, unit.tables)
    unit.held = True
    unit.segment = segment
    unit.front_lead = hardware.front.cycle - hardware.rename_cycle
    unit.retire_lead = hardware.retired - hardware.rename_cycle
    unit.occupied = hardware.scheduler.occupied
    memcpy(unit.queued, hardware.scheduler.queued, sizeof(unit.queued))
    memcpy(unit.events, hardware.events, sizeof(unit.events))
    memcpy(unit.stalls, hardware.stalls, sizeof(unit.stalls))
    memcpy(unit.waits, hardware.waits, sizeof(unit.waits))
    memcpy(unit.share, hardware.share, 8 * unit.instructions)


cdef bint _same_stores(const Lsu *kept, const Lsu *lsu) noexcept nogil:
    """Whether the last stores went where those of a state in normal form did."""
    cdef int i
    for i in range(STORES):
        if kept.stores[i].address != lsu.stores[(lsu.count - i) % STORES].address:
            return False
    return True


cdef bint _same(Steady *unit, const Hardware *hardware) noexcept nogil:
    cdef size_t size
    if (hardware.front.cycle - hardware.rename_cycle != unit.front_lead
            or hardware.retired - hardware.rename_cycle != unit.retire_lead
            or hardware.scheduler.occupied != unit.occupied
            or hardware.scheduler.queued[0] != unit.queued[0]
            or hardware.scheduler.queued[1] != unit.queued[1]
            or hardware.events[INSTRUCTIONS] < unit.compare_at
            or not _same_stores(&(<Hardware *>unit.kept).lsu, &hardware.lsu)):
        return False
    unit.compare_at = hardware.events[INSTRUCTIONS] + COMPARISON
    size = _normal(hardware, unit.instructions, unit.branches, unit.scratch, unit.room)
    return (size == unit.kept_size and memcmp(unit.kept, unit.scratch, size) == 0
            and (not unit.branches or predictors_same_tables(hardware.predictors, unit.tables)))


cdef int64_t steady_period(
    Steady *unit, const Hardware *hardware, int64_t segment, bint keep
) noexcept nogil:
    """Before `segment`: the number of segments since the same state, 0 if none is known.

    `keep`: the present state may be the one that is waited for from now on.
    """
    if unit.held and segment > unit.segment and _same(unit, hardware):
        return segment - unit.segment
    if keep and hardware.events[INSTRUCTIONS] >= unit.due:
        _keep(unit, hardware, segment)
    return 0


cdef void steady_repeat(
    Steady *unit, Hardware *hardware, int64_t segment, int64_t times
) noexcept nogil:
    """Before `segment`: count what happened since the kept state `times` more.

    The core's clock does not move. The kept state is then that of one period ago.
    """
    cdef int64_t period = segment - unit.segment
    cdef int64_t change
    cdef int i
    for i in range(<int>EVENT_COUNT):
        change = hardware.events[i] - unit.events[i]
        unit.events[i] = hardware.events[i] + (times - 1) * change
        hardware.events[i] += times * change
    for i in range(<int>CAUSES_COUNT):
        change = hardware.stalls[i] - unit.stalls[i]
        hardware.stalls[i] += times * change
        unit.stalls[i] = hardware.stalls[i] - change
        change = hardware.waits[i] - unit.waits[i]
        hardware.waits[i] += times * change
        unit.waits[i] = hardware.waits[i] - change
    for i in range(unit.instructions):
        change = hardware.share[i] - unit.share[i]
        hardware.share[i] += times * change
        unit.share[i] = hardware.share[i] - change
    unit.segment += times * period
