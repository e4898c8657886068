"""What one execution leaves behind: instructions, accesses, branches, the reason of its end."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tramposim._native.unicorn_api cimport UnicornApi, uc_engine

cdef enum:
    RING = 64
    SNAPSHOT_REGISTERS = 40
    WATCH_SLOTS = 32768
    STORE_FLAG = 1

cdef enum StopReason:
    RAN_TO_END = 0
    BUDGET_SPENT = 1
    TRACE_FULL = 2
    OUT_OF_MEMORY = 3
    UNMAPPED_READ = 4
    UNMAPPED_WRITE = 5
    UNMAPPED_FETCH = 6
    PROTECTED_READ = 7
    PROTECTED_WRITE = 8
    PROTECTED_FETCH = 9
    INVALID_INSTRUCTION = 10
    CPU_EXCEPTION = 11
    TIME_SPENT = 12
    EMULATOR_ERROR = 13
    HYPERCALL = 14
    HALTED = 15
    OUTSIDE_WORLD = 16

cdef packed struct Access:
    uint64_t address
    uint32_t insn
    uint16_t size
    uint16_t flags

cdef struct Branch:
    uint64_t source
    uint64_t target

cdef struct TraceState:
    const UnicornApi* api
    uc_engine uc
    bint tracing
    uint64_t executed
    uint64_t budget
    uint64_t before
    uint64_t clock_base
    uint64_t ticks
    uint64_t per_insns
    uint64_t last_pc
    uint64_t next_pc
    uint64_t branches
    Branch ring[RING]
    uint64_t* pcs
    size_t pc_count
    size_t pc_room
    size_t pc_limit
    Access* accesses
    size_t access_count
    size_t access_room
    size_t access_limit
    int reason
    uint64_t fault_address
    uint32_t fault_size
    uint32_t exception
    uint64_t watched[WATCH_SLOTS]
    int watch_count
    uint64_t door_base
    uint64_t door_size
    uint64_t door_open
    uint64_t* snapshots
    size_t snapshot_count
    size_t snapshot_room
    int snapshot_width
    int snapshot_registers[SNAPSHOT_REGISTERS]
    bint x86
    bint demand
    uint64_t* demanded
    size_t demanded_count
    size_t demanded_room
    size_t demand_limit

cdef class NativeArray:
    cdef void* data
    cdef Py_ssize_t length
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]
    @staticmethod
    cdef NativeArray take(void* data, Py_ssize_t length)

cdef uint64_t virtual_near(TraceState* state, uint64_t address) noexcept nogil
cdef void trace_begin(TraceState* state, uint64_t budget, bint tracing) noexcept nogil
cdef void trace_resume(TraceState* state, uint64_t address, bint tracing) noexcept nogil
cdef void trace_free(TraceState* state) noexcept nogil
cdef bint watch_add(TraceState* state, uint64_t address) noexcept nogil
cdef void watch_clear(TraceState* state) noexcept nogil
cdef int hooks_install(TraceState* state) noexcept nogil
cdef void trace_restore(
    TraceState* state, const uint64_t* starts, const uint64_t* moves, size_t count) noexcept nogil


cdef inline void stop(TraceState* state, int reason) noexcept nogil:
    if state.reason == RAN_TO_END:
        state.reason = reason
    state.api.emu_stop(state.uc)
