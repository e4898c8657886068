"""Hooks that record an execution into native buffers.

They are installed before the first instruction runs (Unicorn translates them into its code
blocks) and stay; `tracing` decides at run time whether instructions and accesses are kept.
A code hook fires before its instruction, so an access belongs to the last recorded one.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memset

from cpython.buffer cimport PyBuffer_FillInfo

from typing import NamedTuple

cdef enum:
    HOOK_INTR = 1 << 0
    HOOK_CODE = 1 << 2
    HOOK_MEM_INVALID = 0x3F << 4
    HOOK_MEM_READ = 1 << 10
    HOOK_MEM_WRITE = 1 << 11
    MEM_WRITE = 17
    MEM_READ_UNMAPPED = 19
    MEM_WRITE_UNMAPPED = 20
    FIRST_ROOM = 16384
    PAGE = 4096
    READ_WRITE = 3

cdef uint64_t PHYSICAL = (<uint64_t>1 << 52) - 1
cdef uint64_t NEAR = <uint64_t>1 << 31

REASONS = (
    "end", "budget", "trace-full", "out-of-memory", "unmapped-read", "unmapped-write",
    "unmapped-fetch", "protected-read", "protected-write", "protected-fetch",
    "undefined-instruction", "exception", "timeout", "emulator", "hypercall", "halted",
    "outside-world",
)
"""Names of `StopReason`s, in order."""


class Stop(NamedTuple):
    """Why a run ended. `reason` is one of `REASONS`; "end" means that it reached `until`."""

    reason: str
    pc: int
    address: int
    size: int
    exception: int
    detail: str
    executed: int
    branches: tuple


cdef class NativeArray:
    """Owner of a malloc'ed block, readable through the buffer protocol."""

    @staticmethod
    cdef NativeArray take(void* data, Py_ssize_t length):
        cdef NativeArray array = NativeArray.__new__(NativeArray)
        array.data = data
        array.length = length
        return array

    def __dealloc__(self):
        free(self.data)

    def __len__(self):
        return self.length

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.length, 1, flags)


cdef bint grow(
    TraceState* state, void** block, size_t* room, size_t item, size_t limit
) noexcept nogil:
    """Double a buffer up to `limit` items; False (and the run stops) when it cannot."""
    cdef size_t wanted = room[0] * 2 if room[0] else FIRST_ROOM
    cdef void* grown
    if wanted > limit:
        wanted = limit
    if wanted <= room[0]:
        stop(state, TRACE_FULL)
        return False
    grown = realloc(block[0], wanted * item)
    if grown == NULL:
        stop(state, OUT_OF_MEMORY)
        return False
    block[0] = grown
    room[0] = wanted
    return True


cdef inline size_t watch_slot(uint64_t address) noexcept nogil:
    return ((address * <uint64_t>0x9E3779B97F4A7C15) >> 49) & (WATCH_SLOTS - 1)


cdef bint watched(TraceState* state, uint64_t address) noexcept nogil:
    cdef size_t slot = watch_slot(address)
    while state.watched[slot] != 0:
        if state.watched[slot] == address:
            return True
        slot = (slot + 1) & (WATCH_SLOTS - 1)
    return False


cdef bint watch_add(TraceState* state, uint64_t address) noexcept nogil:
    """Snapshot the registers whenever `address` is about to execute; False if the set is full."""
    cdef size_t slot = watch_slot(address)
    if address == 0 or state.watch_count >= WATCH_SLOTS // 2:
        return False
    while state.watched[slot] != 0:
        if state.watched[slot] == address:
            return True
        slot = (slot + 1) & (WATCH_SLOTS - 1)
    state.watched[slot] = address
    state.watch_count += 1
    return True


cdef void watch_clear(TraceState* state) noexcept nogil:
    memset(state.watched, 0, sizeof(state.watched))
    state.watch_count = 0


cdef void snapshot(TraceState* state, uint64_t address) noexcept nogil:
    cdef void* values[SNAPSHOT_REGISTERS]
    cdef uint64_t* row
    cdef size_t width = state.snapshot_width + 2
    cdef int i
    while state.snapshot_room < (state.snapshot_count + 1) * width:
        if not grow(state, <void**>&state.snapshots, &state.snapshot_room, sizeof(uint64_t),
                    state.pc_limit):
            return
    row = state.snapshots + state.snapshot_count * width
    row[0] = state.executed - 1
    row[1] = address
    for i in range(state.snapshot_width):
        row[2 + i] = 0
        values[i] = &row[2 + i]
    state.api.reg_read_batch(
        state.uc, state.snapshot_registers, values, state.snapshot_width)
    state.snapshot_count += 1


cdef void on_code(
    uc_engine uc, uint64_t address, uint32_t size, void* user_data
) noexcept nogil:
    cdef TraceState* state = <TraceState*>user_data
    cdef Branch* branch
    if state.reason != RAN_TO_END:
        return
    if state.executed >= state.budget:
        stop(state, BUDGET_SPENT)
        return
    if address - state.door_base < state.door_size:
        if address != state.door_open:
            stop(state, HYPERCALL)
            return
        state.door_open = 0
    if address != state.next_pc and state.executed:
        branch = &state.ring[state.branches % RING]
        branch.source = state.last_pc
        branch.target = address
        state.branches += 1
    state.last_pc = address
    state.next_pc = address + size
    state.executed += 1
    if state.watch_count and watched(state, address):
        snapshot(state, address)
    if state.tracing:
        if state.pc_count == state.pc_room and not grow(
            state, <void**>&state.pcs, &state.pc_room, sizeof(uint64_t), state.pc_limit
        ):
            return
        state.pcs[state.pc_count] = address
        state.pc_count += 1


cdef void on_access(
    uc_engine uc, int kind, uint64_t address, int size, int64_t value, void* user_data
) noexcept nogil:
    cdef TraceState* state = <TraceState*>user_data
    cdef Access* access
    if not state.tracing or state.pc_count == 0:
        return
    if state.access_count == state.access_room and not grow(
        state, <void**>&state.accesses, &state.access_room, sizeof(Access), state.access_limit
    ):
        return
    access = &state.accesses[state.access_count]
    access.address = address
    access.insn = <uint32_t>(state.pc_count - 1)
    access.size = <uint16_t>size
    access.flags = STORE_FLAG if kind == MEM_WRITE else 0
    state.access_count += 1


cdef uint64_t virtual_near(TraceState* state, uint64_t address) noexcept nogil:
    """The virtual address of data outside every region, of which x86_64 reports 52 bits.

    The dropped bits are those of the register that the address was built from, if one is
    near; else of a canonical kernel or user address.
    """
    cdef void* values[SNAPSHOT_REGISTERS]
    cdef uint64_t registers[SNAPSHOT_REGISTERS]
    cdef uint64_t low
    cdef int i
    if not state.x86:
        return address
    address &= PHYSICAL
    for i in range(state.snapshot_width):
        registers[i] = 0
        values[i] = &registers[i]
    state.api.reg_read_batch(
        state.uc, state.snapshot_registers, values, state.snapshot_width)
    for i in range(state.snapshot_width):
        low = registers[i] & PHYSICAL
        if low != registers[i] and (low - address < NEAR or address - low < NEAR):
            return address | (registers[i] & ~PHYSICAL)
    if address >> 51:
        return address | ~PHYSICAL
    return address


cdef bint provide(TraceState* state, uint64_t address, int size) noexcept nogil:
    """Map the zeroed pages of kernel addresses that an access wants; False if it must not."""
    cdef uint64_t virtual = virtual_near(state, address)
    cdef uint64_t page = virtual & ~<uint64_t>(PAGE - 1)
    cdef uint64_t last = virtual + <uint64_t>(size - 1)
    if not virtual >> 63 or last < virtual:
        return False
    while page <= last:
        if state.demanded_count >= state.demand_limit:
            return False
        if state.demanded_count == state.demanded_room and not grow(
            state, <void**>&state.demanded, &state.demanded_room, sizeof(uint64_t),
            state.pc_limit
        ):
            return False
        # A page of the access that is there already is refused: only the others are missing.
        if state.api.mem_map(
            state.uc, page & PHYSICAL if state.x86 else page, PAGE, READ_WRITE
        ) == 0:
            state.demanded[state.demanded_count] = page
            state.demanded_count += 1
        elif page == (virtual & ~<uint64_t>(PAGE - 1)) and last - page < PAGE:
            return False
        page += PAGE
    return True


cdef bint on_invalid(
    uc_engine uc, int kind, uint64_t address, int size, int64_t value, void* user_data
) noexcept nogil:
    cdef TraceState* state = <TraceState*>user_data
    # uc_mem_type lists read, write, fetch unmapped and then write, read, fetch protected.
    cdef int reasons[6]
    reasons[0] = UNMAPPED_READ
    reasons[1] = UNMAPPED_WRITE
    reasons[2] = UNMAPPED_FETCH
    reasons[3] = PROTECTED_WRITE
    reasons[4] = PROTECTED_READ
    reasons[5] = PROTECTED_FETCH
    if state.demand and (kind == MEM_READ_UNMAPPED or kind == MEM_WRITE_UNMAPPED):
        if provide(state, address, size):
            return True
    if state.reason == RAN_TO_END:
        state.fault_address = address
        state.fault_size = <uint32_t>size
        if MEM_READ_UNMAPPED <= kind < MEM_READ_UNMAPPED + 6:
            state.reason = reasons[kind - MEM_READ_UNMAPPED]
        else:
            state.reason = EMULATOR_ERROR
    return False


cdef void on_exception(uc_engine uc, uint32_t number, void* user_data) noexcept nogil:
    cdef TraceState* state = <TraceState*>user_data
    state.exception = number
    stop(state, CPU_EXCEPTION)


cdef int hooks_install(TraceState* state) noexcept nogil:
    """Install the hooks of code, memory and exceptions; the first error of Unicorn, or 0."""
    cdef size_t hook = 0
    cdef uint64_t begin = 1, end = 0
    cdef int error = 0, i
    cdef int kinds[4]
    cdef void* callbacks[4]
    kinds[0] = HOOK_CODE
    kinds[1] = HOOK_MEM_READ | HOOK_MEM_WRITE
    kinds[2] = HOOK_MEM_INVALID
    kinds[3] = HOOK_INTR
    callbacks[0] = <void*>on_code
    callbacks[1] = <void*>on_access
    callbacks[2] = <void*>on_invalid
    callbacks[3] = <void*>on_exception
    for i in range(4):
        if not error:
            error = state.api.hook_add(
                state.uc, &hook, kinds[i], callbacks[i], <void*>state, begin, end)
    return error


cdef void trace_begin(TraceState* state, uint64_t budget, bint tracing) noexcept nogil:
    """Forget the last run; the clock runs on, buffers are kept for reuse."""
    state.tracing = tracing
    state.before += state.executed
    state.executed = 0
    state.budget = budget
    state.last_pc = 0
    state.next_pc = 0
    state.branches = 0
    state.pc_count = 0
    state.access_count = 0
    state.snapshot_count = 0
    state.reason = RAN_TO_END
    state.fault_address = 0
    state.fault_size = 0
    state.exception = 0
    state.demanded_count = 0


cdef void trace_resume(TraceState* state, uint64_t address, bint tracing) noexcept nogil:
    """Go on with a run that stopped at a hypercall: its first instruction executes now."""
    state.tracing = tracing
    state.door_open = address
    state.reason = RAN_TO_END


cdef void trace_free(TraceState* state) noexcept nogil:
    free(state.pcs)
    free(state.accesses)
    free(state.snapshots)
    free(state.demanded)
    state.pcs = NULL
    state.accesses = NULL
    state.snapshots = NULL
    state.demanded = NULL
    state.pc_room = 0
    state.access_room = 0
    state.snapshot_room = 0
    state.demanded_room = 0


cdef void trace_restore(
    TraceState* state, const uint64_t* starts, const uint64_t* moves, size_t count
) noexcept nogil:
    """Give the recorded accesses virtual addresses.

    Each succeeded, so that it lies in the last of `count` regions that begins at or before it;
    `moves` lead from the regions' physical addresses to the virtual ones.
    """
    cdef size_t i, low, high, middle
    cdef uint64_t address
    for i in range(state.access_count):
        address = state.accesses[i].address & PHYSICAL
        low = 0
        high = count
        while high - low > 1:
            middle = (low + high) // 2
            if starts[middle] <= address:
                low = middle
            else:
                high = middle
        state.accesses[i].address = address + moves[low]
