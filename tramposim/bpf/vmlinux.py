"""A kernel's types: its `vmlinux` BTF file, raw or inside an ELF file, and prototypes by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from tramposim.bpf.btf import Btf, parse_btf
from tramposim.bpf.elf import read_elf
from tramposim.errors import InputError
from tramposim.spec import Prototype

__all__ = ["kernel_btf", "parse_kernel_btf", "prototype_from_btf"]

MAX_FILE = 2 << 30
"""Largest file read, in bytes: a vmlinux with debug information has several hundred MB."""


def parse_kernel_btf(content: bytes, where: str) -> Btf:
    """BTF from the bytes of a file: raw (as /sys/kernel/btf/vmlinux) or ELF with `.BTF`.

    Raises `InputError` for anything else and for malformed data.
    """
    if not content.startswith(b"\x7fELF"):
        return parse_btf(content, where)
    section = read_elf(content, where).section(".BTF")
    if section is None:
        raise InputError("has no section .BTF; build the kernel with CONFIG_DEBUG_INFO_BTF", where)
    return parse_btf(section.data, f"{where}: section .BTF")


@lru_cache(maxsize=2)
def kernel_btf(path: Path) -> Btf:
    """The BTF of a file, such as /sys/kernel/btf/vmlinux; parsed once.

    Raises `InputError` if it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", str(path)) from None
    if len(content) > MAX_FILE:
        raise InputError(f"more than {MAX_FILE >> 30} GiB", str(path))
    return parse_kernel_btf(content, str(path))


def prototype_from_btf(source: Path | str | bytes, name: str) -> Prototype:
    """Prototype of the kernel function `name` from a BTF file, or from such a file's bytes.

    Raises `InputError` for a file or function that is not there, `AttachError` with the
    kernel's words for a function that kernels do not trace.
    """
    if isinstance(source, bytes):
        return parse_kernel_btf(source, "BTF").prototype(name)
    return kernel_btf(Path(source)).prototype(name)
