"""The CPU that this process runs on: memory at fixed addresses, per-CPU base, timed calls.

Meant for a child process that does nothing else: code that is run here can do anything that
the process may do, and a fault ends the process (`REPORT`).
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

import os

cdef extern from *:
    """
    #include <errno.h>
    #include <linux/perf_event.h>
    #include <sched.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/ioctl.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <ucontext.h>
    #include <unistd.h>

    #ifndef MAP_FIXED_NOREPLACE
    #define MAP_FIXED_NOREPLACE 0x100000
    #endif

    typedef uint64_t (*tramposim_stub)(void);

    static char tramposim_stack[1 << 16];
    static int tramposim_page = -1, tramposim_pages;

    static int tramposim_provide(uintptr_t address)
    {
        uintptr_t size = sysconf(_SC_PAGESIZE);
        if (tramposim_page < 0 || tramposim_pages <= 0)
            return -1;
        tramposim_pages--;
        if (mmap((void *)(address & -size), size, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED_NOREPLACE, tramposim_page, 0) == MAP_FAILED)
            return -1;
        return 0;
    }

    static void tramposim_fault(int number, siginfo_t *info, void *context)
    {
        ucontext_t *state = context;
        unsigned long long pc = 0;
        char text[128];
        int size;
        if (number == SIGSEGV && info->si_code == SEGV_MAPERR && !tramposim_provide((uintptr_t)info->si_addr))
            return;
    #if defined(__x86_64__)
        pc = state->uc_mcontext.gregs[REG_RIP];
    #elif defined(__aarch64__)
        pc = state->uc_mcontext.pc;
    #endif
        size = snprintf(text, sizeof text, "fault %d %d %llx %llx\\n", number, info->si_code, pc,
                        (unsigned long long)(uintptr_t)info->si_addr);
        if (write(2, text, size) < 0)
            _exit(98);
        _exit(97);
    }

    static int tramposim_catch(void)
    {
        static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
        stack_t stack;
        struct sigaction action;
        unsigned int index;
        memset(&stack, 0, sizeof stack);
        stack.ss_sp = tramposim_stack;
        stack.ss_size = sizeof tramposim_stack;
        if (sigaltstack(&stack, 0))
            return -1;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = tramposim_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigfillset(&action.sa_mask);
        for (index = 0; index < sizeof numbers / sizeof *numbers; index++)
            if (sigaction(numbers[index], &action, 0))
                return -1;
        return 0;
    }

    static void tramposim_offer(int page, int pages)
    {
        tramposim_page = page;
        tramposim_pages = pages;
    }

    static int tramposim_gs_base(uint64_t value)
    {
    #if defined(__x86_64__)
        return syscall(SYS_arch_prctl, 0x1001, value);
    #else
        (void)value;
        errno = ENOSYS;
        return -1;
    #endif
    }

    static int tramposim_cycle_counter(void)
    {
        struct perf_event_attr attr;
        memset(&attr, 0, sizeof attr);
        attr.type = PERF_TYPE_HARDWARE;
        attr.size = sizeof attr;
        attr.config = PERF_COUNT_HW_CPU_CYCLES;
        attr.disabled = 1;
        attr.exclude_kernel = 1;
        attr.exclude_hv = 1;
        return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
    }

    static uint64_t tramposim_counted(int counter, uint64_t entry)
    {
        uint64_t cycles = 0;
        ioctl(counter, PERF_EVENT_IOC_RESET, 0);
        ioctl(counter, PERF_EVENT_IOC_ENABLE, 0);
        ((tramposim_stub)(uintptr_t)entry)();
        ioctl(counter, PERF_EVENT_IOC_DISABLE, 0);
        if (read(counter, &cycles, sizeof cycles) != sizeof cycles)
            return 0;
        return cycles;
    }

    static void tramposim_visible(void *address, uint64_t size)
    {
        __builtin___clear_cache((char *)address, (char *)address + size);
    }
    """
    ctypedef uint64_t (*tramposim_stub)() noexcept nogil
    int tramposim_catch()
    void tramposim_offer(int page, int pages)
    int tramposim_gs_base(uint64_t value)
    int tramposim_cycle_counter()
    uint64_t tramposim_counted(int counter, uint64_t entry) nogil
    void tramposim_visible(void *address, uint64_t size)
    enum: MAP_FIXED_NOREPLACE, MAP_PRIVATE, MAP_ANONYMOUS
    enum: PROT_READ, PROT_WRITE, PROT_EXEC
    void *mmap(void *address, size_t size, int protection, int flags, int fd, int64_t offset)
    int mprotect(void *address, size_t size, int protection)

cdef enum:
    _READ = 1
    _WRITE = 2
    _EXECUTE = 4

cdef int _PAGE = os.sysconf("SC_PAGE_SIZE")


cdef int _protection(int permissions):
    return (
        (PROT_READ if permissions & _READ else 0)
        | (PROT_WRITE if permissions & _WRITE else 0)
        | (PROT_EXEC if permissions & _EXECUTE else 0)
    )


cdef _fail(str what):
    raise OSError(errno, f"{what}: {os.strerror(errno)}")


def map_memory(uint64_t address, data, int permissions):
    """Map `data`, whole pages, at exactly `address`; raises `OSError` if it is not free."""
    cdef Py_buffer view
    cdef void *got
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if address % _PAGE or view.len == 0 or view.len % _PAGE:
            raise ValueError("not whole pages")
        got = mmap(
            <void *><size_t>address, view.len, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0,
        )
        if got == <void *><size_t>-1:
            _fail(f"mapping {view.len} bytes at {address:#x}")
        if <uint64_t><size_t>got != address:
            raise OSError(17, f"mapping {view.len} bytes at {address:#x}: not free")
        memcpy(got, view.buf, view.len)
        tramposim_visible(got, view.len)
        if mprotect(got, view.len, _protection(permissions)):
            _fail(f"protecting {address:#x}")
    finally:
        PyBuffer_Release(&view)


def provide_pages(int fd, int limit):
    """Let accesses to unmapped pages succeed, `limit` times: each shows the file's first page."""
    tramposim_offer(fd, limit)


def set_percpu_base(uint64_t value):
    """Set what per-CPU accesses are relative to: the gs base (x86_64)."""
    if tramposim_gs_base(value):
        _fail("setting the gs base")


def catch_faults():
    """From now on a fault writes `fault SIGNAL CODE PC ADDRESS` to stderr and ends the process."""
    if tramposim_catch():
        _fail("installing signal handlers")


def open_cycle_counter():
    """A perf event that counts this thread's core cycles in user mode; -1 if there is none."""
    return tramposim_cycle_counter()


def call(uint64_t entry):
    """Run a stub (no arguments, returns a 64-bit number); its result."""
    cdef uint64_t result
    with nogil:
        result = (<tramposim_stub><size_t>entry)()
    return result


def count(int counter, uint64_t entry):
    """Cycles that a stub takes by a counter of `open_cycle_counter`."""
    cdef uint64_t result
    with nogil:
        result = tramposim_counted(counter, entry)
    return result
