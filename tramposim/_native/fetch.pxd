"""Instruction fetch from caches that may miss: the predictor runs ahead of delivery."""

from libc.stdint cimport int64_t, uint64_t

from tramposim._native.frontend cimport FrontEnd
from tramposim._native.memory cimport Memory
from tramposim._native.uarch cimport InsnRec

cdef enum:
    MOST_BLOCKS = 256

cdef struct FetchParams:
    int fetch_queue
    int decode_resteer
    int uop_cache_switch
    int decode_taken_bubble

cdef struct Fetch:
    FetchParams params
    bint cached                    # the core has a uop cache
    int64_t ahead                  # delivery cycle of the predictor's block if nothing stalled
    int64_t delivered[MOST_BLOCKS] # cycles in which the last blocks were delivered
    uint64_t count                 # blocks so far
    uint64_t line                  # code line being delivered

cdef int fetch_open(Fetch *unit, const FetchParams *params, bint cached) except -1
cdef void fetch_block(
    Fetch *unit, Memory *memory, FrontEnd *front, const InsnRec *insn) noexcept nogil
cdef void fetch_taken(Fetch *unit, FrontEnd *front, int bubbles) noexcept nogil
cdef void fetch_resteer(Fetch *unit, Memory *memory, FrontEnd *front, uint64_t pc) noexcept nogil
cdef void fetch_redirect(Fetch *unit, const FrontEnd *front) noexcept nogil
