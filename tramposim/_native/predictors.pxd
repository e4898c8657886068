"""Branch prediction: direction, targets (BTB levels), indirect targets, return stack."""

from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tramposim._native.uarch cimport CoreParams

cdef enum:
    BASE_BITS = 13
    TAGGED_BITS = 12
    TAGGED = 3
    TARGET_BITS = 12
    MAX_RETURN_STACK = 64
    PATH = 3            # taken branches that the fast BTB tells ways by
    PATH_BITS = 10
    MAX_PATHS = 4

cdef struct Tagged:
    uint16_t tag
    int8_t counter
    uint8_t useful

cdef struct Target:
    uint64_t tag
    uint64_t target

cdef struct Way:                   # into a branch, and where it led from there
    uint32_t path
    uint32_t target

cdef struct Btb:
    uint64_t *tags
    uint32_t *ages
    int sets
    int ways
    uint32_t clock
    uint32_t fills                 # branches that it has taken in

cdef struct Predictors:
    int8_t *base
    Tagged *tagged[TAGGED]
    uint64_t history[3]            # newest outcome in bit 0 of word 0
    uint64_t path
    Target *targets                # by address and path
    Target *last                   # by address, and by address and taken branch before
    bint locked                    # the fast BTB keeps its lock where a return changes its target
    bint waiting                   # delivery has caught up with the prediction
    Way *ways                      # `paths` of MAX_PATHS by address, the newest first
    int paths                      # ways into a branch that the fast BTB knows (0: it has no path)
    uint64_t came_from[PATH]       # the last taken branches, newest first
    bint came_by_jump              # it was a direct jump
    bint changed                   # the last indirect branch went elsewhere than before
    bint shared                    # and is a return thunk
    bint indirect                  # the target came from the table of indirect targets
    int64_t now                    # the prediction's clock
    int64_t unlocked               # cycle from which the fast BTB predicts again
    int relock
    Btb fast
    Btb main
    Btb last_level
    uint64_t stack[MAX_RETURN_STACK]
    int depth
    int top
    int filled
    bint wraps                     # an empty stack predicts what it held last

cdef int predictors_open(Predictors *unit, const CoreParams *core) except -1
cdef void predictors_close(Predictors *unit) noexcept nogil
cdef int predictors_copy(Predictors *to, const Predictors *source) except -1
cdef void predictors_forget(Predictors *unit) noexcept nogil
cdef void predictors_disturb(Predictors *unit) noexcept nogil
cdef bint btb_has(const Btb *btb, uint64_t key) noexcept nogil
cdef bint btb_touch(Btb *btb, uint64_t key) noexcept nogil
cdef void btb_empty(Btb *btb) noexcept nogil
cdef bint predict_direction(Predictors *unit, uint64_t pc, bint taken) noexcept nogil
cdef bint predict_indirect(Predictors *unit, uint64_t pc, uint64_t target) noexcept nogil
cdef bint predict_return(
    Predictors *unit, uint64_t pc, uint64_t target, bint first) noexcept nogil
cdef void push_return(Predictors *unit, uint64_t address) noexcept nogil
cdef int find_branch(
    Predictors *unit, uint64_t pc, uint64_t target, bint jump) noexcept nogil
