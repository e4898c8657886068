"""Instruction delivery: when the uops of an instruction reach the rename stage."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from tramposim._native.uarch cimport CoreParams, InsnRec

cdef enum LoopState:           # of the loop buffer (loopbuffer.pxd)
    LOOP_UNKNOWN = 0        # no loop is being watched
    LOOP_WATCHED = 1
    LOOP_STREAMS = 2        # its uops come from the queue

cdef struct FrontEnd:
    int window_shift
    int span_shift                 # code whose uops one cycle's delivery may come from
    int width                      # uops per cycle from the uop cache
    int fetch_shift
    int decode_width
    int decode_complex
    int cross_width                # instructions per cycle of a group from two blocks
    int predecode_width            # instructions that one cycle marks in a block
    int marked                     # in the block being delivered
    int limit                      # of the current group
    int lcp_stall
    int loop                       # LoopState
    bint cached                    # hot code comes from the uop cache
    int64_t cycle                  # current delivery cycle
    int cause                      # why it is not an earlier one
    int used                       # uops (or instructions) delivered in it
    uint64_t window                # window or fetch block being delivered
    int64_t bytes_ready            # decode: cycle in which the block's bytes are there
    int64_t predicted              # cycle in which the next block's address is predicted
    uint64_t block                 # where the main predictor's block being delivered begins
    int64_t unlocked               # cycle until which the main predictor predicts alone
    int ahead                      # blocks by which prediction may run ahead of delivery

cdef int frontend_open(FrontEnd *unit, const CoreParams *core, bint cached) except -1
cdef int64_t frontend_deliver(FrontEnd *unit, const InsnRec *insn, int64_t room) noexcept nogil
cdef void frontend_taken(FrontEnd *unit, int bubbles) noexcept nogil
cdef void frontend_redirect(FrontEnd *unit, int64_t cycle, int cause) noexcept nogil
cdef void frontend_loop(FrontEnd *unit, int64_t cycle, int cause) noexcept nogil
