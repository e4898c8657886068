"""Recognition of a core's steady state: its whole state is what it was some segments ago."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from tramposim._native.hardware cimport EVENT_COUNT, Hardware
from tramposim._native.uarch cimport CAUSES_COUNT

cdef struct Steady:
    int instructions               # static ones
    bint branches                  # any of them is a branch
    uint8_t *kept                  # the normal form of the state that is waited for
    size_t kept_size
    uint8_t *scratch               # that of the present state
    size_t room                    # of each
    uint8_t *tables                # of the predictors, in the kept state
    bint held
    int64_t due                    # instructions executed when the next state is to be kept
    int64_t gap                    # instructions until the one after it
    int64_t first_gap
    int64_t compare_at             # instructions executed before which nothing is compared
    int64_t segment                # that began in the kept state
    int64_t front_lead             # differences that tell most states apart at little cost
    int64_t retire_lead
    uint64_t occupied
    uint64_t queued[2]
    int64_t events[EVENT_COUNT]    # counters as they were then
    int64_t stalls[CAUSES_COUNT]
    int64_t waits[CAUSES_COUNT]
    int64_t *share

cdef int steady_open(Steady *unit, int instructions, bint branches, bint doubling) except -1
cdef void steady_close(Steady *unit) noexcept nogil
cdef void steady_forget(Steady *unit, const Hardware *hardware) noexcept nogil
cdef void steady_clear(Steady *unit, const Hardware *hardware) noexcept nogil
cdef int64_t steady_period(
    Steady *unit, const Hardware *hardware, int64_t segment, bint keep) noexcept nogil
cdef void steady_repeat(
    Steady *unit, Hardware *hardware, int64_t segment, int64_t times) noexcept nogil
