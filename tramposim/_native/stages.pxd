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
