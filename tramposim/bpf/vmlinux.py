"""A kernel's types: its `vmlinux` BTF file, raw or inside an ELF file, and prototypes by name."""

from __future__ import annotations

from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

from tramposim.bpf.btf import Btf, parse_btf
from tramposim.bpf.elf import section_bytes
from tramposim.errors import InputError
from tramposim.spec import Prototype

__all__ = ["kernel_btf", "parse_kernel_btf", "prototype_from_btf"]

_ELF = b"\x7fELF"
MAX_RAW = 64 << 20
"""Most bytes of raw BTF that are read."""


def parse_kernel_btf(content: bytes | mmap, where: str) -> Btf:
    """BTF from the bytes of a file: raw (as /sys/kernel/btf/vmlinux) or ELF with `.BTF`.

    Raises `InputError` for anything else and for malformed data.
    """
    if content[:4] != _ELF:
        return parse_btf(content[:], where)
    data = section_bytes(content, ".BTF", where)
    if data is None:
        raise InputError("has no section .BTF; build the kernel with CONFIG_DEBUG_INFO_BTF", where)
    return parse_btf(data, f"{where}: section .BTF")


@lru_cache(maxsize=2)
def kernel_btf(path: Path) -> Btf:
    """The BTF of a file, such as /sys/kernel/btf/vmlinux; parsed once.

    A vmlinux with debug information may have any size. Raises `InputError` if the file cannot
    be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(4)
            if content == _ELF:
                with mmap(stream.fileno(), 0, access=ACCESS_READ) as mapped:
                    return parse_kernel_btf(mapped, str(path))
            content += stream.read(MAX_RAW + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot be read: {reason}", str(path)) from None
    if len(content) > MAX_RAW:
        raise InputError(f"more than {MAX_RAW >> 20} MiB of BTF", str(path))
    return parse_kernel_btf(content, str(path))


def prototype_from_btf(source: Path | str | bytes, name: str) -> Prototype:
    """Prototype of the kernel function `name` from a BTF file, or from such a file's bytes.

    Raises `InputError` for a file or function that is not there, `AttachError` with the
    kernel's words for a function that kernels do not trace.
    """
    if isinstance(source, bytes):
        return parse_kernel_btf(source, "BTF").prototype(name)
    return kernel_btf(Path(source)).prototype(name)
