"""Branch prediction: direction, targets (BTB levels), indirect targets, return stack.

Direction: a bimodal base and three tagged tables over global histories of 12, 40 and 130
outcomes (the TAGE scheme: Seznec and Michaud, JILP 2006). Indirect targets: a table by
address and path, with the last target of the address as the fall-back. The return stack is
circular with a fill count; when it is empty a return is predicted as an indirect jump.
The fast BTB is a predictor of the next block that is used while it is right, as the micro-BTB
described by Grayson et al. (Evolution of the Samsung Exynos CPU Microarchitecture, ISCA 2020).
It tells apart by which of the last taken branches a block was entered, and knows a few such ways
into one block; where more follow each other, the main BTB predicts.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef int[3] LENGTHS = [12, 40, 130]


cdef int btb_open(Btb *btb, int entries, int ways) except -1:
    cdef int sets = 1
    memset(btb, 0, sizeof(Btb))
    if entries <= 0:
        return 0
    while sets * 2 * ways <= entries:
        sets *= 2
    btb.sets = sets
    btb.ways = ways
    btb.tags = <uint64_t *>calloc(sets * ways, 8)
    btb.ages = <uint32_t *>calloc(sets * ways, 4)
    if btb.tags == NULL or btb.ages == NULL:
        raise MemoryError
    return 0


cdef void btb_close(Btb *btb) noexcept nogil:
    free(btb.tags)
    free(btb.ages)


cdef bint btb_touch(Btb *btb, uint64_t key) noexcept nogil:
    """True if `key` is present; it is the newest of its set afterwards."""
    cdef int set_start, way, oldest = 0
    cdef uint32_t age, best = 0xFFFFFFFF
    if btb.sets == 0:
        return False
    btb.clock += 1
    set_start = <int>((key ^ (key >> 7)) & (btb.sets - 1)) * btb.ways
    for way in range(btb.ways):
        if btb.tags[set_start + way] == key:
            btb.ages[set_start + way] = btb.clock
            return True
        age = btb.ages[set_start + way]
        if age < best:
            best = age
            oldest = way
    btb.fills += 1
    btb.tags[set_start + oldest] = key
    btb.ages[set_start + oldest] = btb.clock
    return False


cdef bint btb_has(const Btb *btb, uint64_t key) noexcept nogil:
    """Whether `key` is present; nothing changes."""
    cdef int set_start, way
    if btb.sets == 0:
        return False
    set_start = <int>((key ^ (key >> 7)) & (btb.sets - 1)) * btb.ways
    for way in range(btb.ways):
        if btb.tags[set_start + way] == key:
            return True
    return False


cdef void btb_empty(Btb *btb) noexcept nogil:
    """Forget all branches."""
    if btb.sets:
        btb.fills += 1
        memset(btb.tags, 0, 8 * btb.sets * btb.ways)


cdef int _btb_copy(Btb *to, const Btb *source) except -1:
    if to.sets != source.sets or to.ways != source.ways:
        raise ValueError("predictors of different shape")
    to.clock = source.clock
    to.fills += 1
    if source.sets:
        memcpy(to.tags, source.tags, 8 * source.sets * source.ways)
        memcpy(to.ages, source.ages, 4 * source.sets * source.ways)
    return 0


cdef int predictors_open(Predictors *unit, const CoreParams *core) except -1:
    cdef int i
    memset(unit, 0, sizeof(Predictors))
    unit.base = <int8_t *>calloc(1 << BASE_BITS, 1)
    unit.targets = <Target *>calloc(1 << TARGET_BITS, sizeof(Target))
    unit.last = <Target *>calloc(1 << TARGET_BITS, sizeof(Target))
    unit.ways = <Way *>calloc(MAX_PATHS << PATH_BITS, sizeof(Way))
    for i in range(TAGGED):
        unit.tagged[i] = <Tagged *>calloc(1 << TAGGED_BITS, sizeof(Tagged))
        if unit.tagged[i] == NULL:
            raise MemoryError
    if (unit.base == NULL or unit.targets == NULL or unit.last == NULL or unit.ways == NULL):
        raise MemoryError
    btb_open(&unit.fast, core.fast_btb_entries, 4)
    btb_open(&unit.main, core.main_btb_entries, 8)
    btb_open(&unit.last_level, core.last_btb_entries, 6)
    unit.depth = core.return_stack
    unit.wraps = core.return_stack_wraps
    unit.locked = True
    unit.relock = core.fast_btb_relock
    unit.paths = core.fast_btb_paths
    if not 0 <= unit.paths <= MAX_PATHS:
        raise ValueError("more ways into a branch than this build supports")
    if unit.depth > MAX_RETURN_STACK:
        raise ValueError("return stack too deep")
    return 0


cdef void predictors_close(Predictors *unit) noexcept nogil:
    cdef int i
    free(unit.base)
    free(unit.targets)
    free(unit.last)
    free(unit.ways)
    for i in range(TAGGED):
        free(unit.tagged[i])
    btb_close(&unit.fast)
    btb_close(&unit.main)
    btb_close(&unit.last_level)
    memset(unit, 0, sizeof(Predictors))


cdef void predictors_forget(Predictors *unit) noexcept nogil:
    """Lose everything learnt: the predictors as after other code has run for long."""
    cdef int i
    memset(unit.base, 0, 1 << BASE_BITS)
    memset(unit.targets, 0, sizeof(Target) << TARGET_BITS)
    memset(unit.last, 0, sizeof(Target) << TARGET_BITS)
    memset(unit.ways, 0, MAX_PATHS * sizeof(Way) << PATH_BITS)
    for i in range(TAGGED):
        memset(unit.tagged[i], 0, sizeof(Tagged) << TAGGED_BITS)
    btb_empty(&unit.fast)
    btb_empty(&unit.main)
    btb_empty(&unit.last_level)
    unit.filled = 0


cdef void predictors_disturb(Predictors *unit) noexcept nogil:
    """Other code has run: the histories hold its outcomes, what was learnt stays."""
    unit.history[0] = 0x5851F42D4C957F2DULL
    unit.history[1] = 0x14057B7EF767814FULL
    unit.history[2] = 0xDA942042E4DD58B5ULL
    unit.path = 0x2545F4914F6CDD1DULL
    memset(unit.came_from, 0, sizeof(unit.came_from))
    unit.filled = 0


cdef int predictors_copy(Predictors *to, const Predictors *source) except -1:
    """Make `to`, of the same core, hold what `source` has learnt."""
    cdef int i
    cdef Predictors own = to[0]
    if to.depth != source.depth:
        raise ValueError("predictors of different shape")
    _btb_copy(&own.fast, &source.fast)
    _btb_copy(&own.main, &source.main)
    _btb_copy(&own.last_level, &source.last_level)
    memcpy(own.base, source.base, 1 << BASE_BITS)
    memcpy(own.targets, source.targets, sizeof(Target) << TARGET_BITS)
    memcpy(own.last, source.last, sizeof(Target) << TARGET_BITS)
    memcpy(own.ways, source.ways, MAX_PATHS * sizeof(Way) << PATH_BITS)
    for i in range(TAGGED):
        memcpy(own.tagged[i], source.tagged[i], sizeof(Tagged) << TAGGED_BITS)
    to[0] = source[0]
    to.base = own.base
    to.targets = own.targets
    to.last = own.last
    to.ways = own.ways
    to.fast = own.fast
    to.main = own.main
    to.last_level = own.last_level
    for i in range(TAGGED):
        to.tagged[i] = own.tagged[i]
    return 0


cdef uint64_t _fold(Predictors *unit, int length) noexcept nogil:
    cdef uint64_t h
    if length <= 64:
        h = unit.history[0] & ((<uint64_t>1 << length) - 1)
    else:
        h = unit.history[0] ^ (unit.history[1] * 0x9E3779B97F4A7C15ULL)
        h ^= (unit.history[2] & 3) << 32
    h *= 0xD6E8FEB86659FD93ULL
    return h ^ (h >> 29)


cdef void _remember(Predictors *unit, bint taken) noexcept nogil:
    unit.history[2] = (unit.history[2] << 1) | (unit.history[1] >> 63)
    unit.history[1] = (unit.history[1] << 1) | (unit.history[0] >> 63)
    unit.history[0] = (unit.history[0] << 1) | taken


cdef bint predict_direction(Predictors *unit, uint64_t pc, bint taken) noexcept nogil:
    """Predict the branch at `pc`, learn its outcome; True if the prediction was right."""
    cdef uint64_t key, hashed
    cdef int i, provider = -1
    cdef uint16_t tag[TAGGED]
    cdef Tagged *entry[TAGGED]
    cdef int8_t *base = &unit.base[(pc ^ (pc >> 13)) & ((1 << BASE_BITS) - 1)]
    cdef bint guess
    for i in range(TAGGED):
        hashed = _fold(unit, LENGTHS[i])
        key = (pc * 0x9E3779B97F4A7C15ULL) ^ hashed
        key ^= key >> 31
        tag[i] = <uint16_t>((key >> 40) | 1)
        entry[i] = &unit.tagged[i][key & ((1 << TAGGED_BITS) - 1)]
        if entry[i].tag == tag[i]:
            provider = i
    guess = entry[provider].counter >= 0 if provider >= 0 else base[0] > 0
    if provider >= 0:
        if taken:
            entry[provider].counter += entry[provider].counter < 3
        else:
            entry[provider].counter -= entry[provider].counter > -4
        if guess == taken:
            entry[provider].useful = 1
    if taken:
        base[0] += base[0] < 2
    else:
        base[0] -= base[0] > -1
    if guess != taken:
        for i in range(provider + 1, TAGGED):
            if not entry[i].useful:
                entry[i].tag = tag[i]
                entry[i].counter = 0 if taken else -1
                break
            entry[i].useful = 0
    _remember(unit, taken)
    return guess == taken


cdef bint _learn(Predictors *unit, uint64_t place, uint64_t target) noexcept nogil:
    """Note that `place` led to `target`; true if it led elsewhere last time."""
    cdef Target *last = &unit.last[(place * 0x9E3779B97F4A7C15ULL) >> (64 - TARGET_BITS)]
    cdef bint moved = last.tag != place or last.target != target
    last.tag = place
    last.target = target
    return moved


cdef bint _moved(Predictors *unit, uint64_t pc, uint64_t target, bint first) noexcept nogil:
    """Learn the target of the branch at `pc`; true if it was another one last time.

    Unless it stays `locked`, the fast BTB then loses its lock on the sequence of blocks. It does
    so in any case at a return thunk: entered by a jump and nothing but a return (`first`: the
    first instruction after a taken branch). It no longer stays locked once such a thunk's target
    has changed when delivery was `waiting` for it.
    """
    cdef bint thunk = first and unit.came_by_jump
    cdef uint64_t entered = pc ^ (unit.came_from[0] << 1)
    cdef bint moved = _learn(unit, pc, target)
    cdef bint moved_here = _learn(unit, entered, target)
    unit.changed = moved
    unit.shared = thunk and moved_here
    if thunk and moved and unit.waiting:
        unit.locked = False
    if unit.shared or moved and not unit.locked:
        unit.unlocked = unit.now + unit.relock
    return moved


cdef bint predict_indirect(Predictors *unit, uint64_t pc, uint64_t target) noexcept nogil:
    """Predict an indirect jump or call; learn; True if the target was predicted."""
    cdef uint64_t key = (pc * 0x9E3779B97F4A7C15ULL) ^ unit.path
    cdef Target *by_path
    cdef bint right = not _moved(unit, pc, target, False)
    key ^= key >> 33
    unit.indirect = True
    by_path = &unit.targets[key & ((1 << TARGET_BITS) - 1)]
    if by_path.tag == key:
        right = by_path.target == target
    by_path.tag = key
    by_path.target = target
    unit.path = (unit.path << 5) ^ (target >> 1)
    return right


cdef bint predict_return(
    Predictors *unit, uint64_t pc, uint64_t target, bint first
) noexcept nogil:
    """Predict a return by the stack, or by its address where an empty stack is known; learn."""
    cdef uint64_t guess
    if unit.filled == 0 and not unit.wraps:
        return predict_indirect(unit, pc, target)
    guess = unit.stack[unit.top]
    unit.top = unit.top - 1 if unit.top > 0 else unit.depth - 1
    if unit.filled:
        unit.filled -= 1
    unit.indirect = False
    _moved(unit, pc, target, first)
    return guess == target


cdef void push_return(Predictors *unit, uint64_t address) noexcept nogil:
    """A call: its return address goes on the stack, the oldest falls off a full one."""
    unit.top = unit.top + 1 if unit.top + 1 < unit.depth else 0
    unit.stack[unit.top] = address
    if unit.filled < unit.depth:
        unit.filled += 1


cdef bint _knows_way(Predictors *unit, uint64_t pc, uint64_t target) noexcept nogil:
    """Whether the fast BTB knows where `pc` leads when entered this way; it learns."""
    cdef uint64_t path = pc
    cdef Way *ways = &unit.ways[
        <int>((pc * 0x9E3779B97F4A7C15ULL) >> (64 - PATH_BITS)) * MAX_PATHS]
    cdef Way found
    cdef bint known
    cdef int i, k
    for i in range(PATH):
        path = (path ^ unit.came_from[i]) * 0xD6E8FEB86659FD93ULL
        path ^= path >> 32
    for i in range(unit.paths):
        if ways[i].path == <uint32_t>path or i == unit.paths - 1:
            break
    found = ways[i]
    known = found.path == <uint32_t>path and found.target == <uint32_t>target
    for k in range(i, 0, -1):
        ways[k] = ways[k - 1]
    ways[0].path = <uint32_t>path
    ways[0].target = <uint32_t>target
    return known


cdef int find_branch(
    Predictors *unit, uint64_t pc, uint64_t target, bint jump
) noexcept nogil:
    """Level of the BTB that predicts the taken branch at `pc`: 0 fast, 1 main, 2 last, 3 none.

    The fast BTB follows a sequence of blocks that it has locked onto. A branch that goes
    elsewhere than last time breaks the lock; the main BTB predicts it and the branches that
    follow until the fast one has locked again. The branch is in all levels afterwards.
    """
    cdef bint fast = btb_touch(&unit.fast, pc)
    cdef bint main = btb_touch(&unit.main, pc)
    cdef int i
    if unit.paths and not _knows_way(unit, pc, target):
        fast = False
    for i in range(PATH - 1, 0, -1):
        unit.came_from[i] = unit.came_from[i - 1]
    unit.came_from[0] = pc
    unit.came_by_jump = jump
    if unit.unlocked > unit.now:
        fast = False
    if fast:
        return 0
    if main:
        return 1
    return 2 if btb_touch(&unit.last_level, pc) else 3
