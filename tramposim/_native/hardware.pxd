"""The units of a core that the pipeline's stages work on, and an instruction on its way."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from tramposim._native.fetch cimport Fetch
from tramposim._native.frontend cimport FrontEnd
from tramposim._native.loopbuffer cimport LoopBuffer
from tramposim._native.lsu cimport Lsu, Store
from tramposim._native.memory cimport Memory
from tramposim._native.predictors cimport Predictors
from tramposim._native.scheduler cimport Scheduler
from tramposim._native.stages cimport UopStageRec
from tramposim._native.uarch cimport CAUSES_COUNT, REGISTERS, AccessRec, CoreParams, InsnRec

cdef enum:
    SLOTS = 1024        # ring of rename slots: at least the ROB and the uop queue
    LOADS = 512         # ring of loads: at least the load buffer

cdef enum:              # what `Hardware.events` counts, `EVENTS` in pipeline
    INSTRUCTIONS
    UOPS
    SLOTS_USED
    TAKEN
    BUBBLES
    MISS_CONDITIONAL
    MISS_INDIRECT
    MISS_RETURN
    FORWARDS
    RENAMES
    BLOCKS
    LOADS_DONE
    STORES_DONE
    LOCKS
    CHANGES
    EVENT_COUNT

cdef struct Hardware:
    CoreParams core
    FrontEnd front
    Fetch fetch
    Memory *memory                 # NULL: everything is found in the first level
    Predictors *predictors
    Scheduler scheduler
    Lsu lsu
    int64_t ready[REGISTERS]       # cycle from which each register's value can be used
    uint64_t folded                # registers whose value is a sum not yet formed
    bint stack_moved               # the stack engine keeps an offset from `stack_register`
    int stack_register
    bint after_taken
    int64_t *slot_alloc            # rings by rename slot: cycles of rename and of retirement
    int64_t *slot_retire
    int64_t *load_retire           # ring by load: cycle of retirement
    int64_t slot_count
    int64_t load_count
    UopStageRec *noted             # where the next uop's record goes; NULL: none is kept
    int stalled                    # cause of rename's latest stall
    int64_t rename_cycle
    int rename_used                # slots taken in it
    int retire_used                # slots retired in `retired`
    int64_t retired
    int64_t completed              # cycle of the latest result so far
    int64_t fence                  # cycle before which no load issues
    int64_t lock_done              # cycle in which the last locked operation is done
    int64_t drained                # cycle in which no store is in the way of the next
    int64_t memory_done            # cycle in which all loads so far have their data
    uint32_t last_banks            # of the first-level cache that the last load needed
    int64_t stalls[CAUSES_COUNT]   # cycles of rename by what kept it
    int64_t waits[CAUSES_COUNT]    # cycles of retirement by what it waited for
    int64_t events[EVENT_COUNT]
    int64_t *share                 # cycles of retirement by static instruction
    LoopBuffer loop

cdef struct Flight:                # an instruction between delivery and retirement
    const InsnRec *insn
    const AccessRec *access
    int access_count
    int32_t number                 # of the static instruction
    int64_t delivered
    int64_t alloc                  # cycle of its newest rename slot
    int64_t value                  # cycle of the newest uop's first source
    int64_t sources                # cycle of its last source
    int64_t start                  # cycle in which it issued, -1: needed no port
    int why                        # cause of its result's cycle, -1: none but its latency
    int reads                      # loads so far
    int writes
    bint locked
    Store *store                   # the newest store
    int store_size
