"""One emulated CPU with its memory: owns a Unicorn engine.

Addresses are the guest's virtual ones. Unicorn's x86_64 without page tables drops all but
the low 52 bits of a data address, so memory is mapped at `va & (2**52 - 1)` and code runs
at `va`; two regions whose low 52 bits overlap are refused. arm64 maps addresses as they are.
"""

from bisect import bisect_right

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from tramposim._native.system cimport clock_now, system_hooks_install
from tramposim._native.tracer cimport (
    RING, SNAPSHOT_REGISTERS, Access, NativeArray, StopReason, TraceState,
    hooks_install, trace_begin, trace_free, trace_restore, trace_resume, virtual_near, watch_add,
    watch_clear, CPU_EXCEPTION, HALTED, RAN_TO_END, TIME_SPENT, EMULATOR_ERROR,
    INVALID_INSTRUCTION,
    UNMAPPED_READ, UNMAPPED_FETCH, PROTECTED_WRITE, PROTECTED_FETCH,
)
from tramposim._native.unicorn_api cimport UnicornApi, error_text, uc_engine, unicorn_api

from tramposim._native.tracer import REASONS, Stop
from tramposim.errors import GuestFault, InputError, UnsupportedError

cdef enum:
    PAGE = 4096
    CODE_BUFFER = 32 << 20
    ERR_INSN_INVALID = 10
    ARM64_UNDEFINED = 1

cdef uint64_t PHYSICAL = (<uint64_t>1 << 52) - 1

READ, WRITE, EXECUTE = 1, 2, 4

X86_REGISTERS = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags", "gs_base",
)
ARM64_REGISTERS = (
    *(f"x{number}" for number in range(31)), "sp", "pc", "nzcv", "tpidr_el1", "sp_el0",
)


cdef class Engine:
    """An x86_64 or arm64 CPU in kernel mode, without paging, and its memory."""

    cdef const UnicornApi* api
    cdef uc_engine uc
    cdef TraceState* state
    cdef bint x86
    cdef readonly str arch
    cdef readonly dict register_ids
    cdef list starts
    cdef dict spans
    cdef bint running
    cdef size_t adopted
    cdef readonly uint64_t mapped
    cdef readonly uint64_t memory_limit

    def __cinit__(
        self, str arch, *, uint64_t trace_limit=1 << 24, uint64_t memory_limit=1 << 30
    ):
        cdef int error, number, model
        cdef int instructions[6]
        self.api = unicorn_api()
        self.starts = []
        self.spans = {}
        self.arch = arch
        self.state = <TraceState*>calloc(1, sizeof(TraceState))
        if self.state == NULL:
            raise MemoryError
        from unicorn import unicorn_const as const
        if arch == "x86_64":
            from unicorn import x86_const as constants
            self.x86 = True
            names, prefix = X86_REGISTERS, "UC_X86_"
            error = self.api.open(const.UC_ARCH_X86, const.UC_MODE_64, &self.uc)
        elif arch == "arm64":
            from unicorn import arm64_const as constants
            names, prefix = ARM64_REGISTERS, "UC_ARM64_"
            error = self.api.open(const.UC_ARCH_ARM64, const.UC_MODE_ARM, &self.uc)
        else:
            raise UnsupportedError(f"no emulated CPU for {arch}; there are x86_64 and arm64")
        self.check(error, "opening the emulator")
        self.check(
            self.api.ctl(self.uc, <uint32_t>(
                const.UC_CTL_TCG_BUFFER_SIZE | (1 << 26) | (const.UC_CTL_IO_WRITE << 30)),
                <uint32_t>CODE_BUFFER),
            "limiting the emulator's code buffer")
        if not self.x86:
            model = constants.UC_CPU_ARM64_MAX
            self.check(
                self.api.ctl(self.uc, <uint32_t>(
                    const.UC_CTL_CPU_MODEL | (1 << 26) | (const.UC_CTL_IO_WRITE << 30)), model),
                "choosing the CPU model MAX")
        self.register_ids = {name: getattr(constants, f"{prefix}REG_{name.upper()}") for name in names}
        self.state.api = self.api
        self.state.uc = self.uc
        self.state.pc_limit = trace_limit
        self.state.access_limit = 2 * trace_limit
        self.state.ticks = self.state.per_insns = 1
        self.state.x86 = self.x86
        self.memory_limit = memory_limit
        self.state.snapshot_width = len(names)
        for number, name in enumerate(names):
            self.state.snapshot_registers[number] = self.register_ids[name]
        hooked = (
            ("RDTSC", "RDTSCP", "IN", "OUT", "SYSCALL", "SYSENTER") if self.x86 else ("MRS", "MSR")
        )
        for number, name in enumerate(hooked):
            instructions[number] = getattr(constants, f"{prefix}INS_{name}")
        self.check(hooks_install(self.state), "installing the trace hooks")
        self.check(
            system_hooks_install(self.state, instructions), "installing the instruction hooks")

    def __dealloc__(self):
        if self.uc != NULL:
            self.api.close(self.uc)
        if self.state != NULL:
            trace_free(self.state)
            free(self.state)

    cdef int check(self, int error, str doing) except -1:
        if error:
            raise GuestFault(f"{doing}: {error_text(error)}")
        return 0

    cdef inline uint64_t physical(self, uint64_t address) noexcept:
        return address & PHYSICAL if self.x86 else address

    cdef uint64_t virtual(self, uint64_t address) except? 0:
        """The guest's virtual address of one that a hook reported."""
        cdef uint64_t start, base
        if not self.x86:
            return address
        index = bisect_right(self.starts, address & PHYSICAL) - 1
        if index >= 0:
            start = self.starts[index]
            virtual, size = self.spans[start]
            if (address & PHYSICAL) - start < size:
                return virtual + ((address & PHYSICAL) - start)
        return virtual_near(self.state, address)

    def map(self, uint64_t address, uint64_t size, uint32_t permissions=7):
        """Map zeroed memory; `address` and `size` are multiples of 4096."""
        cdef uint64_t low = self.physical(address)
        if address % PAGE or size % PAGE or size == 0 or address + (size - 1) < address:
            raise InputError(f"cannot map {size:#x} bytes at {address:#x}: not whole pages")
        if self.x86 and low + (size - 1) > PHYSICAL:
            raise InputError(f"cannot map {size:#x} bytes at {address:#x}: crosses 2**52")
        index = bisect_right(self.starts, low)
        for near in self.starts[max(index - 1, 0) : index + 1]:
            virtual, length = self.spans[near]
            if near < low + size and low < near + length:
                raise InputError(
                    f"cannot map {size:#x} bytes at {address:#x}: overlaps the region of"
                    f" {length:#x} bytes at {virtual:#x}"
                )
        if size > self.memory_limit - self.mapped:
            raise InputError(
                f"cannot map {size:#x} bytes at {address:#x}: the guest may have"
                f" {self.memory_limit:#x} bytes of memory, {self.mapped:#x} are mapped"
            )
        self.check(
            self.api.mem_map(self.uc, low, size, permissions),
            f"mapping {size:#x} bytes at {address:#x}")
        self.mapped += size
        self.starts.insert(index, low)
        self.spans[low] = (address, size)

    def unmap(self, uint64_t address):
        """Unmap the whole region that was mapped at `address`."""
        cdef uint64_t low = self.physical(address)
        if low not in self.spans or self.spans[low][0] != address:
            raise InputError(f"no region begins at {address:#x}")
        self.check(
            self.api.mem_unmap(self.uc, low, self.spans[low][1]), f"unmapping {address:#x}")
        self.mapped -= self.spans[low][1]
        del self.spans[low]
        self.starts.remove(low)

    def regions(self):
        """(address, size) of every mapped region, in order of mapped addresses."""
        return [self.spans[start] for start in self.starts]

    def read(self, uint64_t address, size_t size):
        """Bytes at `address`; `GuestFault` if they are not mapped."""
        if size > (<size_t>1 << 32):
            raise InputError(f"reading {size:#x} bytes at once")
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        cdef int error = 0
        if size:
            error = self.api.mem_read(
                self.uc, self.physical(address), <void*>PyBytes_AS_STRING(data), size)
        if error:
            raise GuestFault(f"reading {size} bytes at {address:#x}: not mapped")
        return data

    def write(self, uint64_t address, data):
        """Write bytes (any buffer) at `address`; `GuestFault` if it is not mapped."""
        cdef Py_buffer view
        cdef int error = 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if view.len:
                error = self.api.mem_write(self.uc, self.physical(address), view.buf, view.len)
            if error:
                raise GuestFault(f"writing {view.len} bytes at {address:#x}: not mapped")
        finally:
            PyBuffer_Release(&view)

    def register(self, str name):
        """Value of a register, named as in `register_ids`."""
        cdef uint64_t value = 0
        self.check(self.api.reg_read(self.uc, self.register_id(name), &value), f"reading {name}")
        return value

    def set_register(self, str name, uint64_t value):
        """Set a register."""
        self.check(
            self.api.reg_write(self.uc, self.register_id(name), &value), f"setting {name}")

    cdef int register_id(self, str name) except -1:
        try:
            return self.register_ids[name]
        except KeyError:
            raise InputError(f"{self.arch} has no register {name} here") from None

    def registers(self):
        """All registers, by name."""
        return {name: self.register(name) for name in self.register_ids}

    @property
    def clock(self):
        """The guest's time-stamp (or virtual) counter, in ticks."""
        return clock_now(self.state)

    @clock.setter
    def clock(self, uint64_t value):
        self.state.clock_base = value
        self.state.before = self.state.executed = 0

    def set_clock_rate(self, uint64_t ticks, uint64_t instructions):
        """Let the counter advance by `ticks` every `instructions` executed instructions."""
        if not (0 < ticks < 1 << 32 and 0 < instructions < 1 << 32):
            raise InputError(f"clock rate {ticks}/{instructions}: both below 2**32 and positive")
        self.clock = clock_now(self.state)
        self.state.ticks = ticks
        self.state.per_insns = instructions

    def watch(self, addresses):
        """Snapshot the registers before each execution of these addresses (replaces the last)."""
        watch_clear(self.state)
        for address in addresses:
            if not watch_add(self.state, address):
                raise InputError(f"too many watched addresses, at {address:#x}")

    def set_doors(self, uint64_t base, uint64_t size):
        """Stop before the instructions of `size` bytes at `base`, with reason "hypercall"."""
        self.state.door_base = base
        self.state.door_size = size

    def run(
        self, uint64_t begin, uint64_t until, uint64_t budget, *,
        bint trace=False, uint64_t timeout_us=0, bint resume=False, bint demand=False,
    ):
        """Run from `begin` until the pc is `until` or something stops it.

        At most `budget` instructions execute. With `trace` every instruction and access is
        recorded (`take_trace`). With `resume` the run that stopped at the hypercall `begin` goes
        on, with what is left of its budget. With `demand` data of kernel addresses where
        nothing is mapped is: zeroed pages appear, `demanded` then names them. Returns a `Stop`;
        only errors of the caller raise.
        """
        cdef int error
        if self.running:
            raise InputError("the engine is already running")
        self.running = True
        if resume:
            trace_resume(self.state, begin, trace)
        else:
            trace_begin(self.state, budget, trace)
            self.adopted = 0
        self.state.demand = demand
        self.state.demand_limit = (
            self.state.demanded_count + (self.memory_limit - self.mapped) // PAGE)
        try:
            with nogil:
                error = self.api.emu_start(self.uc, begin, until, timeout_us, 0)
        finally:
            self.running = False
            self.state.tracing = False
            self.adopt_demanded()
        return self.stop(error, until, timeout_us)

    cdef int adopt_demanded(self) except -1:
        """Make the pages that appeared during a run regions like others."""
        cdef uint64_t low
        while self.adopted < self.state.demanded_count:
            low = self.physical(self.state.demanded[self.adopted])
            self.starts.insert(bisect_right(self.starts, low), low)
            self.spans[low] = (self.state.demanded[self.adopted], <uint64_t>PAGE)
            self.mapped += PAGE
            self.adopted += 1
        return 0

    @property
    def demanded(self):
        """Addresses of the pages that appeared during the last run, in order of appearance."""
        return [self.state.demanded[i] for i in range(self.state.demanded_count)]

    cdef object stop(self, int error, uint64_t until, uint64_t timeout_us):
        cdef TraceState* state = self.state
        cdef uint64_t pc = self.register("rip" if self.x86 else "pc")
        cdef uint64_t i, first
        if state.reason == RAN_TO_END:
            if error == ERR_INSN_INVALID:
                state.reason = INVALID_INSTRUCTION
            elif error:
                state.reason = EMULATOR_ERROR
            elif pc != until:
                state.reason = TIME_SPENT if timeout_us else HALTED
        elif state.reason == CPU_EXCEPTION and not self.x86 and state.exception == ARM64_UNDEFINED:
            state.reason = INVALID_INSTRUCTION
        first = state.branches - RING if state.branches > RING else 0
        branches = [
            (state.ring[i % RING].source, state.ring[i % RING].target)
            for i in range(first, state.branches)
        ]
        address = state.fault_address
        if state.reason in (UNMAPPED_FETCH, PROTECTED_FETCH):
            address = pc
        elif UNMAPPED_READ <= state.reason <= PROTECTED_WRITE:
            address = self.virtual(address)
        return Stop(
            REASONS[state.reason], pc, address, state.fault_size, state.exception,
            error_text(error) if error else "", state.executed, tuple(branches),
        )

    @property
    def last_pc(self):
        """Address of the last instruction that began to execute."""
        return self.state.last_pc

    def take_trace(self):
        """(pcs, accesses) of the last traced run as views of native memory; the engine forgets them.

        `pcs` holds u64 addresses; `accesses` has the layout of `machine.trace.ACCESS`, with
        virtual addresses.
        """
        cdef TraceState* state = self.state
        self.restore_addresses()
        pcs = NativeArray.take(state.pcs, state.pc_count * sizeof(uint64_t))
        accesses = NativeArray.take(state.accesses, state.access_count * sizeof(Access))
        state.pcs = NULL
        state.accesses = NULL
        state.pc_count = state.pc_room = 0
        state.access_count = state.access_room = 0
        return memoryview(pcs), memoryview(accesses)

    cdef int restore_addresses(self) except -1:
        """Give the recorded accesses the virtual addresses of the regions that they are in."""
        cdef TraceState* state = self.state
        cdef Py_ssize_t count = len(self.starts), i
        cdef uint64_t* table
        cdef uint64_t* deltas
        if not self.x86 or not count:
            return 0
        table = <uint64_t*>malloc(2 * count * sizeof(uint64_t))
        if table == NULL:
            raise MemoryError
        deltas = table + count
        for i, start in enumerate(self.starts):
            table[i] = start
            deltas[i] = <uint64_t>self.spans[start][0] - table[i]
        trace_restore(state, table, deltas, count)
        free(table)
        return 0

    def take_snapshots(self):
        """Register snapshots of the last run: rows of u64.

        A row is the index of the instruction, its address, and the registers in the order of
        `register_ids`.
        """
        cdef TraceState* state = self.state
        rows = NativeArray.take(
            state.snapshots,
            state.snapshot_count * (state.snapshot_width + 2) * sizeof(uint64_t))
        state.snapshots = NULL
        state.snapshot_count = state.snapshot_room = 0
        return memoryview(rows)
