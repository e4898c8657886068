"""The kernel that programs are loaded into, as far as rewriting them depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tramposim.errors import MissingFunction, UnsupportedError
from tramposim.spec import Kernel

INLINED_KFUNCS = ("bpf_session_cookie", "bpf_session_is_return")
"""Kernel functions that have no code of their own here, because calls of them are inlined."""

__all__ = ["FixupEnvironment", "StructureOffsets"]


@dataclass(frozen=True, slots=True)
class StructureOffsets:
    """Offsets in kernel structures that inlined code uses, in bytes (7.x kernels)."""

    array_value: int = 304
    """bpf_array.value, and .pptrs which shares its place."""
    htab_element_size: int = 48
    """sizeof(struct htab_elem): where an element's key begins."""
    lru_reference: int = 35
    """htab_elem.lru_node.ref."""


@dataclass(frozen=True, slots=True)
class FixupEnvironment:
    """The kernel that a program is loaded into.

    `symbols` are addresses by kernel name (helpers, `__bpf_call_base`); `maps` the address
    of each map's struct bpf_map by the map's name.
    """

    kernel: Kernel
    symbols: Mapping[str, int]
    maps: Mapping[str, int]
    offsets: StructureOffsets = StructureOffsets()
    address_bits: int = 48
    """arm64: bits of a user address on the CPU that runs (52 with large addresses)."""
    private_stack: Callable[[int, int], int] | None = None
    """Allocates per-CPU memory (bytes, alignment) for a private stack; the per-CPU pointer."""

    text: Mapping[str, int] = field(default_factory=dict)
    """Addresses of further functions, which programs may ask for but not call."""

    def symbol(self, name: str, user: str) -> int:
        """Address of a kernel symbol; `UnsupportedError` naming its user if there is none."""
        if name not in self.symbols:
            raise MissingFunction(name, user)
        return self.symbols[name]

    def lacks(self, name: str) -> bool:
        """Whether the kernel has no such symbol; inlined functions are there, but nowhere."""
        return name not in self.symbols and name not in self.text and name not in INLINED_KFUNCS

    def call_imm(self, name: str, user: str) -> int:
        """Immediate of a call to a kernel function: its distance from __bpf_call_base."""
        distance = self.symbol(name, user) - self.symbol("__bpf_call_base", user)
        if not -(1 << 31) <= distance < 1 << 31:
            raise UnsupportedError(f"{name} lies more than 2 GiB away from __bpf_call_base")
        return distance

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor number of the kernel's version."""
        try:
            major, minor = self.kernel.version.split(".")[:2]
            return int(major), int(minor.split("-")[0])
        except ValueError:
            raise UnsupportedError(f"kernel version {self.kernel.version!r}") from None
