"""The part of Unicorn's C interface that the engine calls, as a table of pointers."""

from libc.stdint cimport uint32_t, uint64_t

ctypedef void* uc_engine

ctypedef struct UnicornApi:
    unsigned int (*version)(unsigned int* major, unsigned int* minor) noexcept nogil
    const char* (*strerror)(int code) noexcept nogil
    int (*open)(int arch, int mode, uc_engine* uc) noexcept nogil
    int (*close)(uc_engine uc) noexcept nogil
    int (*ctl)(uc_engine uc, uint32_t control, ...) noexcept nogil
    int (*emu_start)(
        uc_engine uc, uint64_t begin, uint64_t until, uint64_t timeout_us, size_t count
    ) noexcept nogil
    int (*emu_stop)(uc_engine uc) noexcept nogil
    int (*hook_add)(
        uc_engine uc, size_t* hook, int kind, void* callback, void* user_data,
        uint64_t begin, uint64_t end, ...
    ) noexcept nogil
    int (*mem_map)(uc_engine uc, uint64_t address, size_t size, uint32_t perms) noexcept nogil
    int (*mem_map_ptr)(
        uc_engine uc, uint64_t address, size_t size, uint32_t perms, void* memory
    ) noexcept nogil
    int (*mem_unmap)(uc_engine uc, uint64_t address, size_t size) noexcept nogil
    int (*mem_read)(uc_engine uc, uint64_t address, void* data, size_t size) noexcept nogil
    int (*mem_write)(uc_engine uc, uint64_t address, const void* data, size_t size) noexcept nogil
    int (*reg_read)(uc_engine uc, int reg, void* value) noexcept nogil
    int (*reg_write)(uc_engine uc, int reg, const void* value) noexcept nogil
    int (*reg_read_batch)(
        uc_engine uc, const int* registers, void** values, int count
    ) noexcept nogil

cdef const UnicornApi* unicorn_api() except NULL
cdef str error_text(int code)
