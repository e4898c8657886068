"""Unicorn's C interface, resolved from the library that its wheel has already loaded.

Linking with `-lunicorn` would pick the wheel's static archive and bring a second emulator
into the process; the pointers of the loaded library are taken instead, once.
"""

from tramposim.errors import UnsupportedError

OLDEST = (2, 1)

cdef UnicornApi table
cdef bint resolved = False

cdef void* symbol(object library, str name) except NULL:
    import ctypes

    try:
        function = getattr(library, name)
    except AttributeError:
        raise UnsupportedError(
            f"the Unicorn library has no {name}; install unicorn>=2.1.1"
        ) from None
    return <void*><size_t>ctypes.cast(function, ctypes.c_void_p).value


cdef void resolve() except *:
    global resolved
    cdef unsigned int major = 0, minor = 0
    try:
        from unicorn.unicorn_py3.unicorn import uclib as library
    except ImportError as error:
        raise UnsupportedError(
            f"the Unicorn emulator cannot be loaded ({error}); install unicorn>=2.1.1"
        ) from None
    table.version = <unsigned int (*)(unsigned int*, unsigned int*) noexcept nogil>symbol(
        library, "uc_version")
    table.version(&major, &minor)
    if (major, minor) < OLDEST or major > OLDEST[0]:
        raise UnsupportedError(
            f"Unicorn {major}.{minor} is loaded; {OLDEST[0]}.{OLDEST[1]} or a later"
            f" {OLDEST[0]}.x is needed: install 'unicorn>=2.1.1,<3'"
        )
    table.strerror = <const char* (*)(int) noexcept nogil>symbol(library, "uc_strerror")
    table.open = <int (*)(int, int, uc_engine*) noexcept nogil>symbol(library, "uc_open")
    table.close = <int (*)(uc_engine) noexcept nogil>symbol(library, "uc_close")
    table.ctl = <int (*)(uc_engine, uint32_t, ...) noexcept nogil>symbol(library, "uc_ctl")
    table.emu_start = <int (*)(uc_engine, uint64_t, uint64_t, uint64_t, size_t) noexcept nogil>(
        symbol(library, "uc_emu_start"))
    table.emu_stop = <int (*)(uc_engine) noexcept nogil>symbol(library, "uc_emu_stop")
    table.hook_add = <int (*)(
        uc_engine, size_t*, int, void*, void*, uint64_t, uint64_t, ...
    ) noexcept nogil>symbol(library, "uc_hook_add")
    table.mem_map = <int (*)(uc_engine, uint64_t, size_t, uint32_t) noexcept nogil>symbol(
        library, "uc_mem_map")
    table.mem_map_ptr = <int (*)(uc_engine, uint64_t, size_t, uint32_t, void*) noexcept nogil>(
        symbol(library, "uc_mem_map_ptr"))
    table.mem_unmap = <int (*)(uc_engine, uint64_t, size_t) noexcept nogil>symbol(
        library, "uc_mem_unmap")
    table.mem_read = <int (*)(uc_engine, uint64_t, void*, size_t) noexcept nogil>symbol(
        library, "uc_mem_read")
    table.mem_write = <int (*)(uc_engine, uint64_t, const void*, size_t) noexcept nogil>symbol(
        library, "uc_mem_write")
    table.reg_read = <int (*)(uc_engine, int, void*) noexcept nogil>symbol(
        library, "uc_reg_read")
    table.reg_write = <int (*)(uc_engine, int, const void*) noexcept nogil>symbol(
        library, "uc_reg_write")
    table.reg_read_batch = <int (*)(uc_engine, const int*, void**, int) noexcept nogil>symbol(
        library, "uc_reg_read_batch")
    resolved = True


cdef const UnicornApi* unicorn_api() except NULL:
    """The table; raises `UnsupportedError` when the library is missing or too old."""
    if not resolved:
        resolve()
    return &table


cdef str error_text(int code):
    """Unicorn's own words for an error code."""
    return (<bytes>unicorn_api().strerror(code)).decode("ascii", "replace")


def version() -> tuple[int, int]:
    """Version of the loaded library (major, minor)."""
    cdef unsigned int major = 0, minor = 0
    unicorn_api().version(&major, &minor)
    return (major, minor)
