"""Executes a code block again and again, from the same start, and records its accesses.

The world is that of block measurements: every general register and segment base holds one value,
and every data page is one and the same physical page, filled with that value. Engine, hooks and
pages are kept from block to block; what a block finds does not depend on the blocks before it.
"""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from tramposim._native.unicorn_api cimport UnicornApi, error_text, uc_engine, unicorn_api

from tramposim.errors import InputError, UnsupportedError

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef enum:
    PAGE = 4096
    CODE_PAGES = 256
    MAX_PAGES = 64          # of data that one block may touch
    KEPT_PAGES = 1024       # mapped at most, over all blocks
    MAX_ACCESSES = 1 << 20
    WRITE_FLAG = 1

cdef packed struct Access:
    uint64_t address
    uint32_t insn
    uint16_t size
    uint16_t flags

cdef struct Run:
    const UnicornApi *api
    uc_engine uc
    uint64_t *page              # the physical page
    uint64_t loop               # address of the jump that begins the next round
    uint64_t rounds             # to go
    uint32_t executed
    uint32_t budget
    Access *accesses
    size_t count
    size_t room
    uint64_t pages[MAX_PAGES]
    int page_count
    uint64_t kept[KEPT_PAGES]
    int kept_count
    int failed                  # 1: bad address or too many pages, 2: runs on, 3: no memory


cdef bint _touch(Run *run, uint64_t number) noexcept nogil:
    """Count a page of the block; false if it may not have it."""
    cdef int i
    for i in range(run.page_count):
        if run.pages[i] == number:
            return True
    if not 0 < number < <uint64_t>1 << 39 or run.page_count >= MAX_PAGES:
        run.failed = 1
        return False
    run.pages[run.page_count] = number
    run.page_count += 1
    return True


cdef bint _unmapped(
    uc_engine uc, int kind, uint64_t address, int size, int64_t value, void *data
) noexcept nogil:
    cdef Run *run = <Run *>data
    cdef uint64_t number
    cdef int i
    cdef bint known
    for number in range(address // PAGE, (address + size - 1) // PAGE + 1):
        if not _touch(run, number):
            return False
        known = False
        for i in range(run.kept_count):
            known = known or run.kept[i] == number
        if known:
            continue
        if run.kept_count >= KEPT_PAGES:
            run.failed = 1
            return False
        if run.api.mem_map_ptr(uc, number * PAGE, PAGE, 3, run.page):
            run.failed = 1
            return False
        run.kept[run.kept_count] = number
        run.kept_count += 1
    return True


cdef void _code(uc_engine uc, uint64_t address, uint32_t size, void *data) noexcept nogil:
    cdef Run *run = <Run *>data
    if address == run.loop:
        run.rounds -= 1
        if run.rounds == 0:
            run.api.emu_stop(uc)
        return
    run.executed += 1
    if run.executed > run.budget:
        run.failed = 2
        run.api.emu_stop(uc)


cdef void _access(
    uc_engine uc, int kind, uint64_t address, int size, int64_t value, void *data
) noexcept nogil:
    cdef Run *run = <Run *>data
    cdef Access *larger
    cdef Access *entry
    if run.failed:
        return
    if run.count >= run.room:
        run.room = run.room * 2 if run.room else 4096
        larger = <Access *>realloc(run.accesses, run.room * sizeof(Access))
        if larger == NULL or run.room > MAX_ACCESSES:
            if larger != NULL:
                run.accesses = larger
            run.failed = 3
            run.api.emu_stop(uc)
            return
        run.accesses = larger
    entry = &run.accesses[run.count]
    entry.address = address
    entry.insn = run.executed - 1
    entry.size = <uint16_t>size
    entry.flags = WRITE_FLAG if kind == 17 else 0
    run.count += 1


cdef class BlockTracer:
    """One emulated CPU for blocks of `arch` ("x86_64" or "arm64") at address `base`.

    `fill` is the value of the registers, segment bases too, and of each 8-byte word of memory.
    Raises `UnsupportedError` if the emulator is missing.
    """

    cdef Run run
    cdef uint64_t base, fill
    cdef list registers
    cdef int flags_register
    cdef uint64_t flags_value
    cdef uint64_t code_size
    cdef int jump_size    # bytes of a loop's last instruction

    def __cinit__(self, str arch, uint64_t base, uint64_t fill):
        from unicorn import unicorn_const as const
        cdef size_t hook
        cdef int model
        self.run.api = unicorn_api()
        self.base = base
        self.fill = fill
        if posix_memalign(<void **>&self.run.page, PAGE, PAGE):
            raise MemoryError
        if arch == "x86_64":
            from unicorn import x86_const as x86
            names = ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI"]
            names += [f"R{n}" for n in range(8, 16)] + ["FS_BASE", "GS_BASE"]
            self.registers = [getattr(x86, f"UC_X86_REG_{name}") for name in names]
            self.flags_register, self.flags_value = x86.UC_X86_REG_EFLAGS, 2
            self.jump_size = 5
            self._check(self.run.api.open(const.UC_ARCH_X86, const.UC_MODE_64, &self.run.uc))
        else:
            from unicorn import arm64_const as arm
            names = [f"X{n}" for n in range(31)] + ["SP"]
            self.registers = [getattr(arm, f"UC_ARM64_REG_{name}") for name in names]
            self.flags_register, self.flags_value = arm.UC_ARM64_REG_NZCV, 0
            self.jump_size = 4
            self._check(self.run.api.open(const.UC_ARCH_ARM64, const.UC_MODE_ARM, &self.run.uc))
            model = arm.UC_CPU_ARM64_MAX
            self._check(self.run.api.ctl(self.run.uc, <uint32_t>(
                const.UC_CTL_CPU_MODEL | (1 << 26) | (const.UC_CTL_IO_WRITE << 30)), model))
        for kind, callback in (
            (const.UC_HOOK_CODE, <size_t>&_code),
            (const.UC_HOOK_MEM_READ | const.UC_HOOK_MEM_WRITE, <size_t>&_access),
            (const.UC_HOOK_MEM_READ_UNMAPPED | const.UC_HOOK_MEM_WRITE_UNMAPPED,
             <size_t>&_unmapped),
        ):
            self._check(self.run.api.hook_add(
                self.run.uc, &hook, kind, <void *><size_t>callback, &self.run, 1, 0))

    def __dealloc__(self):
        if self.run.uc != NULL:
            self.run.api.close(self.run.uc)
        free(self.run.accesses)
        free(self.run.page)

    cdef int _check(self, int error) except -1:
        if error:
            raise UnsupportedError(f"the emulator: {error_text(error)}")
        return 0

    def trace(self, const unsigned char[::1] code not None, uint64_t rounds,
              uint64_t budget, bint loop) -> bytes:
        """Accesses (dtype `machine.trace.ACCESS`) of `rounds` executions of `code`.

        With `loop`, `code` is one copy whose last instruction jumps back to its start and is
        not counted; without, it holds all copies and is executed once. Raises `InputError`
        for a block that faults, touches more than 64 pages or executes over `budget`
        instructions.
        """
        cdef uint64_t i, size = code.shape[0], wanted
        cdef int error, number
        cdef uint64_t value
        cdef Run *run = &self.run
        if size == 0 or size > CODE_PAGES * PAGE or not 0 < budget < 1 << 31 or rounds < 1:
            raise ValueError("a block's code or budget is out of range")
        wanted = (size + PAGE - 1) // PAGE * PAGE
        if run.kept_count > KEPT_PAGES - MAX_PAGES:
            for number in range(run.kept_count):
                self._check(run.api.mem_unmap(run.uc, run.kept[number] * PAGE, PAGE))
            run.kept_count = 0
        if self.code_size:
            self._check(run.api.mem_unmap(run.uc, self.base, self.code_size))
            self.code_size = 0
        self._check(run.api.mem_map(run.uc, self.base, wanted, 7))
        self.code_size = wanted
        self._check(run.api.mem_write(run.uc, self.base, &code[0], size))
        for i in range(PAGE // 8):
            run.page[i] = self.fill
        value = self.fill
        for register in self.registers:
            self._check(run.api.reg_write(run.uc, register, &value))
        value = self.flags_value
        self._check(run.api.reg_write(run.uc, self.flags_register, &value))
        run.loop = self.base + size - self.jump_size if loop else 0
        run.rounds = rounds
        run.executed = 0
        run.budget = <uint32_t>budget
        run.count = 0
        run.page_count = 0
        run.failed = 0
        with nogil:
            error = run.api.emu_start(run.uc, self.base, self.base + size, 0, 0)
        for i in range(run.count):
            if not run.failed:
                for value in range(run.accesses[i].address // PAGE,
                                   (run.accesses[i].address + run.accesses[i].size - 1) // PAGE + 1):
                    if not self.base <= value * PAGE < self.base + wanted:
                        _touch(run, value)
        if run.failed == 2:
            raise InputError("the block cannot be executed: it does not end")
        if run.failed == 1:
            raise InputError(
                "the block cannot be executed: it touches memory out of reach or over 64 pages")
        if run.failed:
            raise MemoryError
        if error:
            raise InputError(f"the block cannot be executed: {error_text(error)}")
        return (<const char *>run.accesses)[:run.count * sizeof(Access)] if run.count else b""
