"""The loop buffer: small loops whose uops stay in the uop queue."""

from libc.stdint cimport int64_t, uint64_t

from tramposim._native.frontend cimport FrontEnd
from tramposim._native.uarch cimport UNROLLINGS, CoreParams, InsnRec

cdef enum:
    LOOP_BRANCHES = 8       # taken branches that a loop may have

cdef enum LoopEvent:
    LOOP_NOTHING = 0        # uops do not come from the queue
    LOOP_GOES_ON = 1
    LOOP_AGAIN = 2          # the last uop of what the queue holds: it starts anew
    LOOP_LEFT = 3

cdef struct LoopBuffer:
    int uops                       # rename slots of the largest loop; 0: the core has no buffer
    int copies[UNROLLINGS]         # how often the queue holds a loop ...
    int largest[UNROLLINGS]        # ... of at most so many slots; fewer copies follow
    uint64_t closing               # the branch that goes back to the loop's begin
    int64_t began                  # rename slots before the iteration
    int64_t size                   # slots of the iteration before; 0: not known
    uint64_t taken[LOOP_BRANCHES]  # the other taken branches of an iteration
    int passed                     # so far in this one
    int known                      # in the one before
    bint same                      # as far as this one has got, it is as the one before
    int held                       # iterations in the queue
    int iteration                  # of them

cdef void loop_open(LoopBuffer *unit, const CoreParams *core) noexcept nogil
cdef int loop_branch(
    LoopBuffer *unit, FrontEnd *front, const InsnRec *insn, uint64_t next_pc, bint taken,
    int64_t slots
) noexcept nogil
