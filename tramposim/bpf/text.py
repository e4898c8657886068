"""Helpers of programs that print and read text and memory that may not be there.

Facts: kernel/trace/bpf_trace.c and kernel/bpf/helpers.c. A failed read gives -EFAULT and
leaves zeros, as the kernel's copies do (-ERANGE where the kernel's memory is read at a user's
address).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tramposim.bpf.alu import signed
from tramposim.bpf.printk import FormatRefused, format_text, read_string
from tramposim.errors import GuestFault

if TYPE_CHECKING:
    from tramposim.bpf.host import Host

__all__ = ["COMM", "TEXT_HELPERS"]

COMM = b"tramposim"
"""Name of the one task that programs run in (bpf_get_current_comm)."""

_MAX_FORMAT = 1024
_MAX_SIZE = 1 << 16
_KERNEL = 1 << 63
"""Addresses from here on are the kernel's."""


def _format_of(host: Host, address: int, size: int) -> str:
    raw = host.memory.read(address, min(size & 0xFFFFFFFF, _MAX_FORMAT))
    return raw.split(b"\0")[0].decode(errors="replace")


def _trace_printk(host: Host, arguments: Sequence[int]) -> int:
    text = _format_of(host, arguments[0], arguments[1])
    return _print(host, text, arguments[2:5], "bpf_trace_printk")


def _print(host: Host, text: str, values: Sequence[int], helper: str) -> int:
    try:
        return host.print(format_text(text, values, host.memory, helper))
    except FormatRefused as refused:
        host.note(str(refused))
        return -errno.EINVAL


def _words(host: Host, address: int, size: int) -> list[int]:
    size &= 0xFFFFFFFF
    return [host.memory.load(address + at, 8) for at in range(0, size, 8)]


def _trace_vprintk(host: Host, arguments: Sequence[int]) -> int:
    text = _format_of(host, arguments[0], arguments[1])
    return _print(host, text, _words(host, arguments[2], arguments[3]), "bpf_trace_vprintk")


def _snprintf(host: Host, arguments: Sequence[int]) -> int:
    """bpf_snprintf(str, str_size, fmt, data, data_len): bytes needed, the zero included."""
    at, size, text_at, data, data_size = arguments
    values = _words(host, data, data_size)
    text = read_string(host.memory, text_at, _MAX_FORMAT).decode(errors="replace")
    try:
        # Unlike a printed line, a text keeps its newline.
        shown = format_text(text + "\n", values, host.memory, "bpf_snprintf").encode()
    except FormatRefused as refused:
        host.note(str(refused))
        return -errno.EINVAL
    size &= 0xFFFFFFFF
    if size:
        host.memory.write(at, shown[: size - 1] + b"\0")
    return len(shown) + 1


def _strncmp(host: Host, arguments: Sequence[int]) -> int:
    left_at, size, right_at = arguments[:3]
    size &= 0xFFFFFFFF
    left = read_string(host.memory, left_at, size).ljust(size, b"\0")
    right = read_string(host.memory, right_at, size).ljust(size, b"\0")
    return next((a - b for a, b in zip(left, right, strict=True) if a != b), 0)


def _unreadable(address: int, kernel: bool) -> int:
    """The errno of a read that failed: the kernel's do not even try user addresses."""
    return -errno.ERANGE if kernel and address < _KERNEL else -errno.EFAULT


def _probe_read(host: Host, arguments: Sequence[int], kernel: bool = False) -> int:
    destination, size, source = arguments[:3]
    size &= 0xFFFFFFFF
    try:
        content = host.memory.read(source, size) if size <= _MAX_SIZE else None
    except GuestFault:
        content = None
    host.memory.write(destination, bytes(size) if content is None else content)
    return _unreadable(source, kernel) if content is None else 0


def _probe_read_str(host: Host, arguments: Sequence[int], kernel: bool = False) -> int:
    """Bytes written, the zero included."""
    destination, size, source = arguments[:3]
    size = min(size & 0xFFFFFFFF, _MAX_SIZE)
    if not size:
        return 0
    try:
        host.memory.read(source, 1)
    except GuestFault:
        host.memory.write(destination, bytes(size))
        return _unreadable(source, kernel)
    text = read_string(host.memory, source, size - 1) + b"\0"
    host.memory.write(destination, text)
    return len(text)


def _current_comm(host: Host, arguments: Sequence[int]) -> int:
    size = signed(arguments[1], 32)
    host.memory.write(arguments[0], COMM[: size - 1].ljust(size, b"\0"))
    return 0


TEXT_HELPERS: dict[str, Callable[[Host, Sequence[int]], int]] = {
    "bpf_trace_printk": _trace_printk,
    "bpf_trace_vprintk": _trace_vprintk,
    "bpf_snprintf": _snprintf,
    "bpf_strncmp": _strncmp,
    "bpf_get_current_comm": _current_comm,
    "bpf_probe_read": _probe_read,
    "bpf_probe_read_user": _probe_read,
    "bpf_probe_read_kernel": partial(_probe_read, kernel=True),
    "bpf_probe_read_str": _probe_read_str,
    "bpf_probe_read_user_str": _probe_read_str,
    "bpf_probe_read_kernel_str": partial(_probe_read_str, kernel=True),
}
"""By name; r1 to r5 in, r0 out."""
