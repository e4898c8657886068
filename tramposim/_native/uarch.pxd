"""Packed records that every stage of the core model shares, and the core's parameters."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    REGISTERS = 64      # architectural registers, flags and temporaries inside an instruction
    NO_REGISTER = 255
    MAX_PORTS = 16
    MAX_POOLS = 8
    UNROLLINGS = 4      # sizes of loops that a loop buffer holds several times

cdef enum UopKind:
    EXEC = 0            # needs a port
    LOAD = 1
    STORE_ADDRESS = 2
    STORE_DATA = 3
    ELIMINATED = 4      # result is a source's, renamed (moves, small immediates)
    ZERO = 5            # result known at rename
    NOP = 6             # takes a slot, nothing else

cdef enum UopFlag:
    LOCKED = 1          # drains the stores before it, orders memory accesses after it
    DRAIN = 2           # issues when everything older has completed
    BLOCK = 4           # nothing younger is renamed before it completes
    UNRENAMED = 8       # load that is not a candidate for memory renaming
    BRANCH = 16         # resolves the instruction's branch
    READ_STACK = 32     # names the stack pointer explicitly (stack engine synchronises)
    MOVE_STACK = 64     # changes the stack pointer inside the stack engine
    EARLY_FLAGS = 128   # folded immediate: the flags come one cycle after the value

cdef enum FoldUse:
    FOLDS = 1           # leaves a small immediate to be added by whoever uses the result
    NEEDS_SUM = 2       # waits longer for a source that is such a sum (shifts)

cdef enum BranchKind:
    NOT_BRANCH = 0
    CONDITIONAL = 1
    JUMP = 2
    CALL = 3
    RETURN = 4
    INDIRECT_JUMP = 5
    INDIRECT_CALL = 6

cdef enum InsnFlag:
    LENGTH_CHANGING = 1 # operand-size prefix changes the immediate's length
    FUSED_HEAD = 2      # macro-fused into the branch that follows
    UNLOOPED = 4        # keeps its loop out of the loop buffer
    ORDERS_LOADS = 8    # load-acquire: younger memory accesses wait for it
    REPEATED = 16       # a string instruction's iteration
    PAIR = 32           # one store covers all recorded writes
    DENSE = 64          # in a window with more loads than memory renaming tracks

cdef enum Cause:                # what held execution up, `CAUSES` in pipeline
    FROM_UOP_CACHE = 0
    FROM_DECODE = 1
    PREFIX = 2              # length-changing
    FROM_LOOP_BUFFER = 3    # between the last uop that it holds and the first
    BUBBLE = 4              # branch prediction behind delivery
    MISPREDICT = 5
    SERIALIZED = 6
    RENAME_WIDTH = 7
    REORDER_BUFFER = 8
    SCHEDULER = 9
    LOAD_BUFFER = 10
    STORE_BUFFER = 11
    DEPENDENCY = 12
    FORWARDING = 13
    BLOCKED_FORWARDING = 14
    LOCKED_OPERATION = 15
    UNPIPELINED = 16
    MEMORY_ACCESS = 17
    RETIRE_WIDTH = 18
    ALIAS = 19              # a store 4 KiB away
    FIRST_PORT = 20         # FIRST_PORT + n: port n was taken
    CAUSES_COUNT = 36

cdef packed struct UopRec:
    uint32_t ports
    uint16_t latency
    uint16_t occupancy
    uint8_t kind
    uint8_t pool
    uint8_t slots
    uint8_t flags
    uint8_t src0
    uint8_t src1
    uint8_t src2
    uint8_t src3
    uint8_t dst0
    uint8_t dst1
    uint8_t dst2
    uint8_t dst3
    uint8_t access
    uint8_t folding                # FoldUse
    uint16_t pad

cdef packed struct InsnRec:
    uint64_t pc
    uint32_t first
    uint16_t uops
    uint8_t size
    uint8_t branch
    uint8_t flags
    uint8_t slots
    uint8_t decode
    uint8_t crowd                  # branches in its 32 bytes of code
    uint8_t ordinal                # of a branch among them, from 1
    uint8_t pad[3]

cdef packed struct AccessRec:
    uint64_t address
    uint32_t insn
    uint16_t size
    uint16_t flags

cdef struct CoreParams:
    int fetch_bytes
    int decode_width
    int decode_complex
    int decode_cross_width
    int predecode_width
    int lcp_stall
    int fetch_queue
    int uop_cache_window
    int uop_cache_span
    int uop_cache_width
    int queue_uops
    int loop_buffer_uops
    int loop_copies[UNROLLINGS]
    int loop_largest[UNROLLINGS]
    int fast_btb_entries
    int fast_btb_bubble
    int fast_btb_density
    int main_btb_entries
    int main_btb_bubble
    int main_btb_density
    int last_btb_entries
    int last_btb_bubble
    int fast_btb_relock
    int fast_btb_paths
    int call_bubble
    int indirect_bubble
    int crowded_bubble
    int thunk_return_bubble
    int return_stack
    int return_stack_wraps
    int redirect_conditional
    int redirect_indirect
    int redirect_return
    int rename_width
    int rob
    int retire_width
    int load_buffer
    int store_buffer
    int store_commit_width
    int store_commit_lines
    int ports
    int pools
    int l1_latency
    int forward_latency
    int forward_block
    int forward_wait
    int forward_halves
    int forward_commit
    int alias_wait
    int store_drain
    int lock_hold
    int lock_orders_loads
    int rename_memory
    int rename_memory_latency
    int rename_memory_least
    int rename_memory_modified
    int same_bank_load_ports
    int stack_engine
    int folded_source_wait
    int stack_sync_slots
    int stack_sync_reads
    int pool_size[8]
