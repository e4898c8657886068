"""Load/store unit: forwarding, memory renaming, partial overlap, 4K aliasing, commit of stores.

A table knows the last store to each byte. A load whose bytes all come from one store that
has not reached the cache is fed by it: after `forward_latency` from both its own issue and
the data (and `forward_wait` more if it had to be tried again, except loads of the stack
engine); or, where the core renames memory and the same static store has fed the same static
load before, from the moment that the stored value exists. Returns are renamed only if a push or
call has stored their address, no load to the register of a store with an indexed address. A load
that needs bytes of one waiting store and of the cache takes `forward_block` from its issue and the
store's data; one that needs bytes of several takes `forward_commit` from the last one's commit. On
cores that forward halves, a load of `forward_halves` bytes or more is instead fed by halves, each
from one store or the cache; but a store feeds only what begins where it or its second half does.

Stores are first looked for by the offset in the page alone, so that one to the same bytes of
another page delays a load: by `alias_wait`, until the addresses have been compared whole. If both
pages are one page of memory (`one_page`), the load reads what the store writes, but is not fed by
it: it waits for its commit, too.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    TRUST_MAX = 15
    PAGE = 4096
    LINGER = 10     # cycles after retirement in which a store's register can be renamed from


cdef int lsu_open(Lsu *unit, const CoreParams *core, int instructions) except -1:
    cdef int i
    memset(unit, 0, sizeof(Lsu))
    if core.store_buffer >= STORES or core.store_buffer < 1:
        raise ValueError("store buffer size out of range")
    unit.granules = <Granule *>calloc(GRANULES, sizeof(Granule))
    unit.pair_store = <int32_t *>calloc(instructions + 1, 4)
    unit.pair_trust = <uint8_t *>calloc(instructions + 1, 1)
    if not (unit.granules and unit.pair_store and unit.pair_trust):
        raise MemoryError
    unit.commit_width = core.store_commit_width
    unit.commit_lines = core.store_commit_lines != 0
    unit.store_buffer = core.store_buffer
    unit.forward_latency = core.forward_latency
    unit.forward_block = core.forward_block
    unit.forward_wait = core.forward_wait
    unit.forward_halves = core.forward_halves
    unit.forward_commit = core.forward_commit
    unit.alias_wait = core.alias_wait
    unit.store_drain = core.store_drain
    unit.rename_latency = core.rename_memory_latency
    unit.renames = core.rename_memory != 0
    return 0


cdef void lsu_close(Lsu *unit) noexcept nogil:
    free(unit.granules)
    free(unit.pair_store)
    free(unit.pair_trust)
    memset(unit, 0, sizeof(Lsu))


cdef int64_t lsu_store_room(const Lsu *unit) noexcept nogil:
    """Cycle from which the store buffer has an entry for the next store."""
    if unit.count < <uint32_t>unit.store_buffer:
        return 0
    return unit.stores[(unit.count + 1 - unit.store_buffer) % STORES].commit


cdef Store *lsu_store(Lsu *unit, uint64_t address, int size, int32_t insn) noexcept nogil:
    """Enter the next store in program order; the caller fills in its times."""
    cdef Store *store
    cdef Granule *granule
    cdef uint64_t byte, key
    unit.count += 1
    store = &unit.stores[unit.count % STORES]
    memset(store, 0, sizeof(Store))
    store.number = unit.count
    store.address = address
    store.insn = insn
    if size > 64:
        size = 64
    store.size = size
    for byte in range(address, address + size):
        key = byte >> 3
        granule = &unit.granules[(key ^ (key >> 11)) & (GRANULES - 1)]
        if granule.address != key:
            memset(granule, 0, sizeof(Granule))
            granule.address = key
        granule.writer[byte & 7] = unit.count
        granule.whole = 0
    if size == 8 and not address & 7:
        granule.whole = unit.count
    unit.offsets[(address >> 3) & (OFFSETS - 1)] = unit.count
    if (address & 7) + <uint64_t>size > 8:
        for key in range((address >> 3) + 1, ((address + size - 1) >> 3) + 1):
            unit.offsets[key & (OFFSETS - 1)] = unit.count
    return store


cdef void lsu_commit(Lsu *unit, Store *store, int64_t retired) noexcept nogil:
    """The instruction of `store` has retired: it goes to the cache, in order.

    Several commit in one cycle only to the same line, unless the core writes different ones.
    """
    cdef bint same_line = (store.address >> 6) == unit.last_line
    unit.last_line = store.address >> 6
    if retired > unit.last_commit:
        unit.last_commit = retired
        unit.committed = 1
    elif unit.committed < unit.commit_width and (same_line or unit.commit_lines):
        unit.committed += 1
    else:
        unit.last_commit += 1
        unit.committed = 1
    store.commit = unit.last_commit


cdef inline bint _begins(const Lsu *unit, const Store *store, uint64_t address) noexcept nogil:
    """Whether the store can feed what begins at `address`, inside it."""
    return (not unit.forward_halves or address == store.address
            or address == store.address + <uint64_t>store.size // 2)


cdef inline int64_t _fed(
    const Lsu *unit, const Store *store, int64_t issue, int64_t ready, bint may_wait
) noexcept nogil:
    """When a load that issues at `issue` has what `store` feeds it, and the rest by `ready`."""
    cdef int64_t fed = store.data + unit.forward_latency
    if store.issued >= issue:
        issue = store.issued + 1 + unit.forward_wait
    if may_wait and store.data >= issue:
        fed += unit.forward_wait
    return max(ready, fed, issue + unit.forward_latency)


cdef int64_t _fed_by_halves(
    const Lsu *unit, uint64_t address, int size, int64_t issue, int64_t ready, bint may_wait
) noexcept nogil:
    """When a load has both its halves, each from one store or the cache; -1 if it cannot.

    `ready`: when it has what the cache holds.
    """
    cdef uint64_t first = address, half = <uint64_t>size // 2, byte, key
    cdef uint32_t writer = 0, found
    cdef const Granule *granule
    cdef const Store *store
    if size & 1:
        return -1
    for byte in range(address, address + 2 * half):
        key = byte >> 3
        granule = &unit.granules[(key ^ (key >> 11)) & (GRANULES - 1)]
        found = granule.writer[byte & 7] if granule.address == key else 0
        if found and (unit.count - found >= STORES - 1
                      or unit.stores[found % STORES].commit + unit.store_drain <= issue):
            found = 0
        if byte == address + half:
            first = byte
        if byte == first:
            writer = found
            if found:
                store = &unit.stores[found % STORES]
                if not _begins(unit, store, first):
                    return -1
                ready = _fed(unit, store, issue, ready, may_wait)
        elif found != writer:
            return -1
    return ready


cdef inline const Store *alias_of(
    const Lsu *unit, uint64_t address, uint64_t size, uint32_t newest, int64_t issue
) noexcept nogil:
    """The store under way, newer than `newest`, to the same bytes of another page (or NULL)."""
    cdef uint32_t number = unit.offsets[(address >> 3) & (OFFSETS - 1)]
    cdef uint32_t last = unit.offsets[((address + size - 1) >> 3) & (OFFSETS - 1)]
    cdef const Store *store
    if last > number:
        number = last
    if number <= newest or unit.count - number >= STORES - 1:
        return NULL
    store = &unit.stores[number % STORES]
    if store.commit + unit.store_drain <= issue or (store.address ^ address) < PAGE:
        return NULL
    if (store.address - address) % PAGE < size:
        return store
    if (address - store.address) % PAGE < <uint64_t>store.size:
        return store
    return NULL


cdef inline bint renamed_to(
    Lsu *unit, const Store *store, int32_t insn, int64_t allocated
) noexcept nogil:
    """Whether rename gives a load the register of `store`, which feeds it; and learn that."""
    if not unit.pair_trust[insn] or unit.pair_store[insn] != store.insn:
        unit.pair_store[insn] = store.insn
        unit.pair_trust[insn] = 1
        return False
    if unit.pair_trust[insn] < TRUST_MAX:
        unit.pair_trust[insn] += 1
    return unit.pair_trust[insn] > TRUST and store.commit + LINGER > allocated


cdef LoadOutcome lsu_load(
    Lsu *unit, uint64_t address, int size, int32_t insn, int64_t issue,
    int64_t allocated, int latency, bint may_rename, bint pops, bint may_wait
) noexcept nogil:
    """When the value of a load that issues at `issue` can be used, and where it came from."""
    cdef LoadOutcome outcome
    cdef uint64_t byte, key
    cdef Granule *granule
    cdef uint32_t writer, newest = 0, waiting = 0
    cdef bint whole = True, first = True, several = False
    cdef int bytes_read = size
    cdef int64_t known = 0, commit = 0, fed
    cdef Store *store = NULL
    cdef const Store *part
    outcome.ready = issue + latency
    outcome.forwarded = outcome.renamed = outcome.blocked = False
    outcome.aliased = False
    if size > 64:
        size = 64
    key = address >> 3
    granule = &unit.granules[(key ^ (key >> 11)) & (GRANULES - 1)]
    if (address & 7) + <uint64_t>size <= 8 and (granule.address != key or granule.whole):
        newest = granule.whole if granule.address == key else 0
        size = 0
    for byte in range(address, address + size):
        key = byte >> 3
        granule = &unit.granules[(key ^ (key >> 11)) & (GRANULES - 1)]
        writer = granule.writer[byte & 7] if granule.address == key else 0
        if writer and unit.count - writer < STORES - 1:
            part = &unit.stores[writer % STORES]
            if part.commit + unit.store_drain > issue:
                outcome.blocked = True
                several = several or (waiting and writer != waiting)
                waiting = writer
                known = max(known, part.data, part.issued)
                commit = max(commit, part.commit)
        if first:
            newest = writer
            first = False
        elif writer != newest:
            whole = False
            if writer > newest:
                newest = writer
    if newest and unit.count - newest < STORES - 1:
        store = &unit.stores[newest % STORES]
    if unit.alias_wait:
        part = alias_of(unit, address, bytes_read, newest, issue)
        if part != NULL and unit.one_page:
            outcome.blocked = True
            outcome.ready = part.commit + unit.forward_commit
            return outcome
        outcome.aliased = part != NULL and part.issued < issue
    if store != NULL and not whole:
        fed = -1
        if outcome.blocked and unit.forward_halves and bytes_read >= unit.forward_halves:
            fed = _fed_by_halves(unit, address, bytes_read, issue, outcome.ready, may_wait)
        if fed >= 0:
            outcome.ready = fed
            outcome.forwarded = True
            outcome.blocked = False
        elif several:
            outcome.ready = commit + unit.forward_commit
        elif outcome.blocked:
            outcome.ready = max(issue, known) + unit.forward_block
    elif store != NULL:
        outcome.blocked = False
        may_rename = (may_rename or (pops and store.pushed)) and not store.unnamed
        if (unit.renames and may_rename and store.address == address
                and renamed_to(unit, store, insn, allocated)):
            outcome.renamed = True
            outcome.aliased = False
            outcome.ready = max(allocated + 1, store.value + unit.rename_latency)
            return outcome
        if store.commit + unit.store_drain > issue or store.commit == 0:
            if _begins(unit, store, address):
                outcome.forwarded = True
                outcome.ready = _fed(unit, store, issue, outcome.ready, may_wait)
            else:
                outcome.blocked = True
                outcome.ready = max(issue, store.data, store.issued) + unit.forward_block
    if outcome.aliased:
        outcome.ready += unit.alias_wait
    return outcome
