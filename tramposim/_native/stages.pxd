"""When an executed instruction passed each stage of the core, and what befell it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

cdef packed struct StageRec:
    int64_t delivered              # by the front end
    int64_t renamed                # its last slot
    int64_t issued                 # its first uop on a port; -1: none needed one
    int64_t executed               # its last result
    int64_t retired
    uint16_t bubbles               # fetch bubbles after it (taken branch)
    uint8_t mispredicted
    uint8_t forwarded              # loads that took their value from a store
    uint8_t memory_renamed         # loads whose store was known at rename
    uint8_t blocked                # loads that waited for a store to commit
    uint16_t uops                  # 0: fused into the instruction after it
    int64_t resumed                # front end ready for it (with `noted` uops: these and below)
    int64_t fetched                # its code was there
    uint8_t resumed_cause          # Cause: why not earlier
    uint8_t delivered_cause
    uint8_t queued                 # it waited for room in the uop queue
    uint8_t pad[5]

cdef packed struct UopStageRec:
    int64_t renamed                # its last slot
    int64_t ready                  # its sources, and what it must not pass
    int64_t started                # on its port; -1: needed none
    int64_t done
    int64_t slot                   # slots renamed up to here
    uint8_t cause                  # Cause: what `ready` or `done` waited for; 255: nothing
    uint8_t stalled                # Cause: what rename waited for last
    uint8_t port
    uint8_t source                 # register whose value came last
    uint8_t pad[4]
