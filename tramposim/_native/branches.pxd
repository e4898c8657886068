"""Branches: prediction, what it costs where it is slow, and the redirect where it is wrong."""

from libc.stdint cimport int64_t, uint64_t

from tramposim._native.fetch cimport fetch_redirect, fetch_resteer, fetch_taken
from tramposim._native.frontend cimport frontend_loop, frontend_redirect, frontend_taken
from tramposim._native.hardware cimport (
    BUBBLES, CHANGES, MISS_CONDITIONAL, MISS_INDIRECT, MISS_RETURN, TAKEN, Hardware)
from tramposim._native.loopbuffer cimport (
    LOOP_AGAIN, LOOP_GOES_ON, LOOP_LEFT, LOOP_NOTHING, loop_branch)
from tramposim._native.predictors cimport (
    find_branch, predict_direction, predict_indirect, predict_return, push_return)
from tramposim._native.rename cimport rename_recover
from tramposim._native.uarch cimport (
    CALL, CONDITIONAL, FROM_LOOP_BUFFER, INDIRECT_CALL, INDIRECT_JUMP, JUMP, MISPREDICT,
    RENAME_WIDTH, RETURN, CoreParams, InsnRec)


cdef inline int taken_bubbles(
    const CoreParams *core, const InsnRec *insn, int level, bint indirect, bint shared
) noexcept nogil:
    """Cycles that the prediction of a taken branch takes beyond one, by its level of the BTB."""
    cdef int bubbles = core.fast_btb_bubble
    if level or insn.crowd > core.fast_btb_density:
        bubbles = core.main_btb_bubble
    if level == 2:
        bubbles = core.last_btb_bubble
    if bubbles < core.call_bubble and (
        insn.branch == CALL or insn.branch == RETURN or insn.branch == INDIRECT_CALL
    ):
        bubbles = core.call_bubble
    if indirect and bubbles < core.indirect_bubble:
        bubbles = core.indirect_bubble
    if insn.ordinal > core.main_btb_density:
        bubbles = core.crowded_bubble
    if shared:
        bubbles += core.thunk_return_bubble
    return bubbles


cdef inline bint streamed(
    Hardware *unit, const InsnRec *insn, uint64_t next_pc, bint taken
) noexcept nogil:
    """Whether what follows a branch that was predicted right comes from the loop buffer."""
    cdef int event = loop_branch(&unit.loop, &unit.front, insn, next_pc, taken, unit.slot_count)
    if event == LOOP_NOTHING or event == LOOP_GOES_ON:
        return event == LOOP_GOES_ON
    frontend_loop(&unit.front, unit.rename_cycle + 1, FROM_LOOP_BUFFER)
    # A cycle whose slots are all taken ends in any case.
    if unit.rename_used >= unit.core.rename_width:
        unit.front.cause = RENAME_WIDTH
    if event == LOOP_LEFT:
        fetch_redirect(&unit.fetch, &unit.front)
    return True


cdef inline void branch(
    Hardware *unit, const InsnRec *insn, uint64_t next_pc, int64_t resolved
) noexcept nogil:
    """Predict, compare with what happened, charge bubbles or a redirect."""
    cdef bint taken = insn.branch != CONDITIONAL or next_pc != insn.pc + insn.size
    cdef bint right = True
    cdef bint indirect = False, shared = False
    cdef int bubbles, level, penalty = 0
    unit.predictors.now = unit.front.predicted
    unit.predictors.waiting = unit.front.cycle <= unit.front.predicted
    if insn.branch == CONDITIONAL:
        right = predict_direction(unit.predictors, insn.pc, taken)
        if not right:
            unit.events[MISS_CONDITIONAL] += 1
            penalty = unit.core.redirect_conditional
    elif insn.branch == RETURN:
        right = predict_return(unit.predictors, insn.pc, next_pc, unit.after_taken)
        indirect = unit.predictors.indirect
        shared = unit.predictors.shared
        unit.events[CHANGES] += unit.predictors.changed
        if not right:
            unit.events[MISS_RETURN] += 1
            penalty = unit.core.redirect_return
    elif insn.branch == INDIRECT_JUMP or insn.branch == INDIRECT_CALL:
        right = predict_indirect(unit.predictors, insn.pc, next_pc)
        indirect = True
        if insn.ordinal > unit.core.main_btb_density:
            right = False
        unit.events[CHANGES] += unit.predictors.changed
        if not right:
            unit.events[MISS_INDIRECT] += 1
            penalty = unit.core.redirect_indirect
    if insn.branch == CALL or insn.branch == INDIRECT_CALL:
        push_return(unit.predictors, insn.pc + insn.size)
    if unit.loop.uops and right and streamed(unit, insn, next_pc, taken):
        unit.events[TAKEN] += taken
        return
    if taken:
        unit.events[TAKEN] += 1
        level = find_branch(unit.predictors, insn.pc, next_pc, insn.branch == JUMP)
        bubbles = taken_bubbles(&unit.core, insn, level, indirect, shared)
        unit.events[BUBBLES] += bubbles
        unit.front.unlocked = unit.predictors.unlocked
        frontend_taken(&unit.front, bubbles)
        if unit.memory != NULL:
            fetch_taken(&unit.fetch, &unit.front, bubbles)
            if level == 3 and right:
                fetch_resteer(&unit.fetch, unit.memory, &unit.front, insn.pc)
    if not right:
        unit.predictors.unlocked = 0
        unit.predictors.locked = False
        frontend_redirect(
            &unit.front, resolved + min(penalty, unit.core.redirect_conditional), MISPREDICT)
        rename_recover(unit, resolved + penalty)
        fetch_redirect(&unit.fetch, &unit.front)
