"""Instructions that reach beyond the program: the clock, the CPU's number, what a guest may not.

Clocks count the guest's own instructions. Ports, system calls and system registers other than a
task's own end the run.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from tramposim._native.tracer cimport OUTSIDE_WORLD, TraceState, stop
from tramposim._native.unicorn_api cimport uc_engine

cdef enum:
    HOOK_INSN = 1 << 1
    HOOK_INSN_INVALID = 1 << 14
    X86_REG_RAX = 35
    X86_REG_RCX = 38
    X86_REG_RDX = 40
    X86_REG_RIP = 41

cdef uint64_t PHYSICAL = (<uint64_t>1 << 52) - 1

# Unicorn's numbers of the general registers, in the order of their encoding.
cdef int[16] GENERAL_REGISTERS = [
    35, 38, 40, 37, 44, 36, 43, 39, 106, 107, 108, 109, 110, 111, 112, 113]


cdef uint32_t on_x86_in(uc_engine uc, uint32_t port, int size, void* user_data) noexcept nogil:
    stop(<TraceState*>user_data, OUTSIDE_WORLD)
    return 0


cdef void on_x86_out(
    uc_engine uc, uint32_t port, int size, uint32_t value, void* user_data
) noexcept nogil:
    stop(<TraceState*>user_data, OUTSIDE_WORLD)


cdef void on_x86_system_call(uc_engine uc, void* user_data) noexcept nogil:
    stop(<TraceState*>user_data, OUTSIDE_WORLD)


cdef uint64_t clock_now(const TraceState* state) noexcept nogil:
    """The guest's counter: `ticks` per `per_insns` instructions since it was set."""
    cdef uint64_t insns = state.before + state.executed
    return (state.clock_base + insns // state.per_insns * state.ticks
            + insns % state.per_insns * state.ticks // state.per_insns)


cdef int on_x86_clock(uc_engine uc, void* user_data) noexcept nogil:
    """RDTSC and RDTSCP read the guest's own clock: the same run gives the same times."""
    cdef TraceState* state = <TraceState*>user_data
    cdef uint64_t now = clock_now(state)
    cdef uint64_t low = <uint32_t>now, high = now >> 32
    state.api.reg_write(state.uc, X86_REG_RAX, &low)
    state.api.reg_write(state.uc, X86_REG_RDX, &high)
    return 1


cdef int on_x86_clock_and_cpu(uc_engine uc, void* user_data) noexcept nogil:
    cdef TraceState* state = <TraceState*>user_data
    cdef uint64_t zero = 0
    on_x86_clock(uc, user_data)
    state.api.reg_write(state.uc, X86_REG_RCX, &zero)
    return 1


cdef bint on_x86_undefined(uc_engine uc, void* user_data) noexcept nogil:
    """RDPID (F3 [REX] 0F C7 /7 with a register), which Unicorn lacks: the CPU is number 0."""
    cdef TraceState* state = <TraceState*>user_data
    cdef uint8_t code[5]
    cdef uint64_t pc = 0, zero = 0
    cdef int at = 1, extended = 0
    if (state.api.reg_read(uc, X86_REG_RIP, &pc)
            or state.api.mem_read(uc, pc & PHYSICAL, code, 4) or code[0] != 0xF3):
        return False
    if code[1] & 0xF0 == 0x40:
        extended = 8 * (code[1] & 1)
        at = 2
        if state.api.mem_read(uc, (pc + 4) & PHYSICAL, &code[4], 1):
            return False
    if code[at] != 0x0F or code[at + 1] != 0xC7 or code[at + 2] & 0xF8 != 0xF8:
        return False
    state.next_pc = pc + at + 3
    state.api.reg_write(uc, GENERAL_REGISTERS[code[at + 2] & 7 | extended], &zero)
    state.api.reg_write(uc, X86_REG_RIP, &state.next_pc)
    return True


cdef struct SystemRegister:
    uint32_t crn
    uint32_t crm
    uint32_t op0
    uint32_t op1
    uint32_t op2
    uint64_t value


cdef uint32_t on_arm64_clock(
    uc_engine uc, int reg, const SystemRegister* source, void* user_data
) noexcept nogil:
    """CNTVCT_EL0 (S3_3_C14_C0_2) reads the guest's own clock."""
    cdef TraceState* state = <TraceState*>user_data
    cdef uint64_t now
    if (source.op0 == 3 and source.op1 == 3 and source.crn == 14 and source.crm == 0
            and source.op2 == 2):
        now = clock_now(state)
        state.api.reg_write(state.uc, reg, &now)
        return 1
    return 0


cdef uint32_t on_arm64_write(
    uc_engine uc, int reg, const SystemRegister* source, void* user_data
) noexcept nogil:
    """MSR: a task's own registers (flags, masks, thread pointers) and no other."""
    cdef uint32_t place = (
        source.op0 << 16 | source.op1 << 12 | source.crn << 8 | source.crm << 4 | source.op2)
    # NZCV, DAIF, TPIDR_EL0, TPIDR_EL1, SP_EL0.
    if place not in (0x33420, 0x33421, 0x33D02, 0x30D04, 0x30410):
        stop(<TraceState*>user_data, OUTSIDE_WORLD)
    return 0


cdef int system_hooks_install(TraceState* state, const int* instructions) noexcept nogil:
    """Install the hooks of single instructions; the first error of Unicorn, or 0.

    `instructions` are Unicorn's numbers: x86_64 rdtsc, rdtscp, in, out, syscall, sysenter;
    arm64 mrs, msr.
    """
    cdef size_t hook = 0
    cdef uint64_t begin = 1, end = 0
    cdef int error = 0, i
    cdef void* callbacks[6]
    callbacks[0] = <void*>on_x86_clock if state.x86 else <void*>on_arm64_clock
    callbacks[1] = <void*>on_x86_clock_and_cpu if state.x86 else <void*>on_arm64_write
    callbacks[2] = <void*>on_x86_in
    callbacks[3] = <void*>on_x86_out
    callbacks[4] = callbacks[5] = <void*>on_x86_system_call
    for i in range(6 if state.x86 else 2):
        if not error:
            error = state.api.hook_add(
                state.uc, &hook, HOOK_INSN, callbacks[i], <void*>state, begin, end,
                instructions[i])
    if state.x86 and not error:
        error = state.api.hook_add(state.uc, &hook, HOOK_INSN_INVALID, <void*>on_x86_undefined,
                                   <void*>state, begin, end)
    return error
