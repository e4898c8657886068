"""Programs, maps and links of the running kernel, read through the bpf(2) system call.

Only commands that read are used: ids, descriptors of ids, and information. Numbers and
structure layouts are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator

from tramposim.capture.view import LoadedMap, LoadedProgramInfo
from tramposim.errors import InputError, UnsupportedError

__all__ = ["loaded_maps", "loaded_programs", "traced_btf_ids"]

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_PROG_NEXT_ID, _MAP_NEXT_ID, _LINK_NEXT_ID = 11, 12, 31
_PROG_BY_ID, _MAP_BY_ID, _LINK_BY_ID = 13, 14, 30
_INFO_BY_FD = 15
_ATTR = 128
_PROG_INFO, _MAP_INFO, _LINK_INFO = 232, 88, 64
_MOST = 1 << 24
"""Bytes or elements of one answer that are believed."""
_MOST_OBJECTS = 1 << 16
_LINK_TRACING = 2
_ENOENT = 2


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """The system call; raises `OSError`."""
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise UnsupportedError(f"no bpf system call is known for {platform.machine()}")
    library = ctypes.CDLL(None, use_errno=True)
    result = library.syscall(number, command, attributes, _ATTR)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)


def _attributes(content: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(content.ljust(_ATTR, b"\0"), _ATTR)


def _ids(command: int) -> Iterator[int]:
    number = 0
    for _ in range(_MOST_OBJECTS):
        attributes = _attributes(struct.pack("<I", number))
        try:
            _bpf(command, attributes)
        except OSError as error:
            if error.errno == _ENOENT:
                return
            raise _refused(error) from None
        (number,) = struct.unpack_from("<I", attributes.raw, 4)
        yield number


def _refused(error: OSError) -> InputError:
    return InputError(
        f"{error.strerror}; capturing needs root (CAP_SYS_ADMIN) and a kernel with BPF", "bpf(2)"
    )


def _descriptor(command: int, number: int) -> int | None:
    """A descriptor of an object; None if it is gone."""
    try:
        return _bpf(command, _attributes(struct.pack("<I", number)))
    except OSError as error:
        if error.errno == _ENOENT:
            return None
        raise _refused(error) from None


def _info(descriptor: int, info: ctypes.Array[ctypes.c_char]) -> bytes:
    attributes = _attributes(struct.pack("<IIQ", descriptor, len(info), ctypes.addressof(info)))
    try:
        _bpf(_INFO_BY_FD, attributes)
    except OSError as error:
        raise _refused(error) from None
    return info.raw


def _sized(value: int, what: str) -> int:
    if value > _MOST:
        raise InputError(f"{what} of {value} bytes", "bpf(2)")
    return value


def loaded_programs() -> dict[int, LoadedProgramInfo]:
    """All loaded programs with machine code, by its address.

    Raises `InputError` if the kernel refuses, `UnsupportedError` on a foreign architecture.
    """
    found = {}
    for number in _ids(_PROG_NEXT_ID):
        descriptor = _descriptor(_PROG_BY_ID, number)
        if descriptor is not None:
            try:
                program = _program(descriptor)
            finally:
                os.close(descriptor)
            if program.ksyms:
                found[program.ksyms[0]] = program
    return found


def _program(descriptor: int) -> LoadedProgramInfo:
    """struct bpf_prog_info, asked twice: for the sizes, then for the contents."""
    info = ctypes.create_string_buffer(_PROG_INFO)
    sizes = _info(descriptor, info)
    jited_size, xlated_size = struct.unpack_from("<II", sizes, 16)
    (map_count,) = struct.unpack_from("<I", sizes, 52)
    ksym_count, length_count = struct.unpack_from("<II", sizes, 104)
    jited = ctypes.create_string_buffer(_sized(jited_size, "a program") or 1)
    xlated = ctypes.create_string_buffer(_sized(xlated_size, "a program") or 1)
    maps = (ctypes.c_uint32 * _sized(map_count, "a list of maps"))()
    ksyms = (ctypes.c_uint64 * _sized(ksym_count, "a list of functions"))()
    lengths = (ctypes.c_uint32 * _sized(length_count, "a list of functions"))()
    info = ctypes.create_string_buffer(_PROG_INFO)
    struct.pack_into("<II", info, 16, jited_size, xlated_size)
    struct.pack_into("<QQ", info, 24, ctypes.addressof(jited), ctypes.addressof(xlated))
    struct.pack_into("<I", info, 52, map_count)
    struct.pack_into("<Q", info, 56, ctypes.addressof(maps))
    struct.pack_into("<II", info, 104, ksym_count, length_count)
    struct.pack_into("<QQ", info, 112, ctypes.addressof(ksyms), ctypes.addressof(lengths))
    answer = _info(descriptor, info)
    kind, number = struct.unpack_from("<II", answer)
    return LoadedProgramInfo(
        id=number,
        type=kind,
        name=answer[64:80].partition(b"\0")[0].decode(errors="replace"),
        jited=jited.raw[:jited_size],
        ksyms=tuple(address for address in ksyms if address),
        func_lens=tuple(lengths),
        xlated=xlated.raw[:xlated_size],
        map_ids=tuple(maps),
    )


def loaded_maps() -> dict[int, LoadedMap]:
    """All maps by id; raises as `loaded_programs` does."""
    found = {}
    for number in _ids(_MAP_NEXT_ID):
        descriptor = _descriptor(_MAP_BY_ID, number)
        if descriptor is None:
            continue
        try:
            answer = _info(descriptor, ctypes.create_string_buffer(_MAP_INFO))
        finally:
            os.close(descriptor)
        kind, _, key, value, entries = struct.unpack_from("<5I", answer)
        name = answer[24:40].partition(b"\0")[0].decode(errors="replace")
        found[number] = LoadedMap(number, kind, name, key, value, entries)
    return found


def traced_btf_ids() -> list[int]:
    """BTF ids of the kernel's functions that tracing links trace, each once, oldest first."""
    found: dict[int, None] = {}
    for number in _ids(_LINK_NEXT_ID):
        descriptor = _descriptor(_LINK_BY_ID, number)
        if descriptor is None:
            continue
        try:
            answer = _info(descriptor, ctypes.create_string_buffer(_LINK_INFO))
        finally:
            os.close(descriptor)
        (kind,) = struct.unpack_from("<I", answer)
        _, target_object, target = struct.unpack_from("<III", answer, 16)
        # Object 1 is the kernel's own BTF; others are programs' and modules'.
        if kind == _LINK_TRACING and target_object == 1 and target:
            found[target] = None
    return list(found)
