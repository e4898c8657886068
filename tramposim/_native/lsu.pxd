"""Load/store unit: forwarding, memory renaming, partial overlap, 4K aliasing, commit of stores."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tramposim._native.uarch cimport CoreParams

cdef enum:
    STORES = 256                   # ring of recent stores, at least the store buffer
    GRANULES = 2048                # direct-mapped table of 8-byte granules last written
    TRUST = 2                      # occurrences after which a pair is renamed
    OFFSETS = 512                  # granules of a page

cdef struct Granule:
    uint64_t address               # address >> 3
    uint32_t writer[8]             # number of the last store to each byte, 0 none
    uint32_t whole                 # the one store that wrote all eight, 0 if several did
    uint32_t pad

cdef struct Store:
    uint32_t number
    int32_t insn
    bint pushed                    # by the stack engine
    bint unnamed                   # no load is renamed to its register
    uint64_t address
    int64_t size
    int64_t data                   # cycle in which the value can be forwarded from
    int64_t value                  # cycle in which the stored register was ready
    int64_t issued                 # cycle in which its address was known
    int64_t commit                 # cycle in which it leaves the store buffer for the cache

cdef struct LoadOutcome:
    int64_t ready
    bint forwarded
    bint renamed
    bint blocked
    bint aliased                   # delayed by a store 4 KiB away

cdef struct Lsu:
    Granule *granules
    Store stores[STORES]
    uint32_t offsets[OFFSETS]      # number of the last store to each granule of any page
    uint32_t count                 # stores so far
    int32_t *pair_store            # per static instruction: the store that fed its load
    uint8_t *pair_trust
    int64_t last_commit
    uint64_t last_line
    int committed                  # stores committed in that cycle
    int commit_width
    bint commit_lines              # of different lines in one cycle
    int store_buffer
    int forward_latency
    int forward_block
    int forward_wait
    int forward_halves
    int forward_commit
    int alias_wait
    int store_drain
    int rename_latency
    bint renames
    bint one_page                  # all pages are one page of memory

cdef int lsu_open(Lsu *unit, const CoreParams *core, int instructions) except -1
cdef void lsu_close(Lsu *unit) noexcept nogil
cdef Store *lsu_store(
    Lsu *unit, uint64_t address, int size, int32_t insn) noexcept nogil
cdef void lsu_commit(Lsu *unit, Store *store, int64_t retired) noexcept nogil
cdef int64_t lsu_store_room(const Lsu *unit) noexcept nogil
cdef LoadOutcome lsu_load(
    Lsu *unit, uint64_t address, int size, int32_t insn, int64_t issue,
    int64_t allocated, int latency, bint may_rename, bint pops, bint may_wait) noexcept nogil
