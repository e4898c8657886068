"""Whether two states of the predictors predict the same.

What predictors have learnt is compared table by table; how long ago, and what no prediction
depends on any more, does not count.
"""

from libc.string cimport memcmp, memcpy, memset
from libc.stdint cimport int64_t, uint8_t, uint64_t

from tramposim._native.predictors cimport (
    BASE_BITS, MAX_PATHS, PATH_BITS, TAGGED, TAGGED_BITS, TARGET_BITS, Btb, Predictors, Tagged,
    Target, Way)

cdef enum:
    SMALL_BTB = 256     # entries


cdef void _btb_normal(Btb *btb) noexcept nogil:
    """Between two states with the same number of fills, no branch has come or gone.

    Then ages do not matter either: they choose who goes. Small levels, which calls outgrow, are
    compared with the tables.
    """
    if btb.sets * btb.ways <= SMALL_BTB:
        btb.fills = 0
    btb.tags = NULL
    btb.ages = NULL
    btb.clock = 0


cdef void predictors_normal(Predictors *unit, int64_t now) noexcept nogil:
    """Make of a copy what all states have that predict the same from cycle `now` on.

    The tables are left out, outcomes that no table sees any more are forgotten.
    """
    cdef int i
    unit.unlocked = max(unit.unlocked - now, 0)
    unit.now -= now
    unit.waiting = False
    unit.history[2] &= 3
    unit.base = NULL
    unit.targets = NULL
    unit.last = NULL
    unit.ways = NULL
    for i in range(TAGGED):
        unit.tagged[i] = NULL
    _btb_normal(&unit.fast)
    _btb_normal(&unit.main)
    _btb_normal(&unit.last_level)


cdef void _btb_order(const Btb *btb, uint64_t *to) noexcept nogil:
    """Write the branches of a small level, set by set from the newest to the oldest."""
    cdef int number, start, way, other, place
    memset(to, 0, SMALL_BTB * sizeof(uint64_t))
    if btb.sets * btb.ways > SMALL_BTB:
        return
    for number in range(btb.sets):
        start = number * btb.ways
        for way in range(btb.ways):
            place = 0
            for other in range(btb.ways):
                if btb.ages[start + other] > btb.ages[start + way] or (
                        btb.ages[start + other] == btb.ages[start + way] and other < way):
                    place += 1
            to[start + place] = btb.tags[start + way]


cdef size_t predictors_tables_size() noexcept nogil:
    """Bytes that `predictors_save_tables` writes."""
    return ((1 << BASE_BITS) + 2 * (sizeof(Target) << TARGET_BITS)
            + (MAX_PATHS * sizeof(Way) << PATH_BITS)
            + TAGGED * (sizeof(Tagged) << TAGGED_BITS) + 3 * SMALL_BTB * sizeof(uint64_t))


cdef void predictors_save_tables(const Predictors *unit, uint8_t *to) noexcept nogil:
    """Copy what the tables of directions and targets hold."""
    cdef int i
    memcpy(to, unit.base, 1 << BASE_BITS)
    to += 1 << BASE_BITS
    memcpy(to, unit.targets, sizeof(Target) << TARGET_BITS)
    to += sizeof(Target) << TARGET_BITS
    memcpy(to, unit.last, sizeof(Target) << TARGET_BITS)
    to += sizeof(Target) << TARGET_BITS
    memcpy(to, unit.ways, MAX_PATHS * sizeof(Way) << PATH_BITS)
    to += MAX_PATHS * sizeof(Way) << PATH_BITS
    for i in range(TAGGED):
        memcpy(to, unit.tagged[i], sizeof(Tagged) << TAGGED_BITS)
        to += sizeof(Tagged) << TAGGED_BITS
    _btb_order(&unit.fast, <uint64_t *>to)
    _btb_order(&unit.main, <uint64_t *>to + SMALL_BTB)
    _btb_order(&unit.last_level, <uint64_t *>to + 2 * SMALL_BTB)


cdef bint predictors_same_tables(const Predictors *unit, const uint8_t *saved) noexcept nogil:
    """Whether the tables hold what `predictors_save_tables` wrote to `saved`."""
    cdef uint64_t[3 * SMALL_BTB] order
    cdef int i
    if memcmp(saved, unit.base, 1 << BASE_BITS):
        return False
    saved += 1 << BASE_BITS
    if memcmp(saved, unit.targets, sizeof(Target) << TARGET_BITS):
        return False
    saved += sizeof(Target) << TARGET_BITS
    if memcmp(saved, unit.last, sizeof(Target) << TARGET_BITS):
        return False
    saved += sizeof(Target) << TARGET_BITS
    if memcmp(saved, unit.ways, MAX_PATHS * sizeof(Way) << PATH_BITS):
        return False
    saved += MAX_PATHS * sizeof(Way) << PATH_BITS
    for i in range(TAGGED):
        if memcmp(saved, unit.tagged[i], sizeof(Tagged) << TAGGED_BITS):
            return False
        saved += sizeof(Tagged) << TAGGED_BITS
    _btb_order(&unit.fast, order)
    _btb_order(&unit.main, &order[SMALL_BTB])
    _btb_order(&unit.last_level, &order[2 * SMALL_BTB])
    return memcmp(saved, order, sizeof(order)) == 0
