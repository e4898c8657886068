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
    int64_t committed              # its newest store was in the cache; kept if it has none
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


cdef inline void shift_records(
    StageRec[::1] stages, UopStageRec[::1] uops, int64_t cycles
) noexcept nogil:
    """Move recorded cycles by those that were not executed."""
    cdef Py_ssize_t i
    for i in range(stages.shape[0]):
        stages[i].delivered += cycles
        stages[i].renamed += cycles
        if stages[i].issued >= 0:
            stages[i].issued += cycles
        stages[i].executed += cycles
        stages[i].retired += cycles
        stages[i].resumed += cycles
        stages[i].fetched += cycles
        stages[i].committed += cycles
    if uops is None:
        return
    for i in range(uops.shape[0]):
        uops[i].renamed += cycles
        uops[i].ready += cycles
        if uops[i].started >= 0:
            uops[i].started += cycles
        uops[i].done += cycles
