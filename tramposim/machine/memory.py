"""Kernel memory before anything runs: allocations with their initial contents.

Addresses are by default those of a kernel without randomisation: kmalloc memory in the direct map,
vmalloc memory (programs, stacks) in its area, per-CPU memory as one unit per CPU whose
addresses are a per-CPU pointer plus that CPU's offset.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tramposim.errors import BuildError, InputError
from tramposim.machine.addresses import AddressMap, address_map
from tramposim.machine.placement import percpu_size
from tramposim.machine.runtime import Region, Runtime

__all__ = ["KernelMemory"]

_MASK = (1 << 64) - 1
_PAGE = 0x1000

PERCPU_UNIT = 1 << 24
"""Bytes of per-CPU space per CPU: static variables first, then allocations."""


class KernelMemory:
    """Allocates kernel memory for a runtime and remembers what it must contain.

    Contents start as zeros; `write` changes them, `regions` gives them all for mapping.
    """

    def __init__(self, runtime: Runtime, addresses: AddressMap | None = None) -> None:
        self.runtime = runtime
        self.addresses = addresses or address_map(runtime.kernel.arch)
        self.arch = runtime.kernel.arch
        self.structs = runtime.structs
        self._blocks: dict[int, tuple[bytearray, str]] = {}
        self._starts: list[int] = []
        self._kmalloc = self.addresses.kmalloc
        self._vmalloc = self.addresses.vmalloc
        self._percpu_start = runtime.symbols["__per_cpu_start"]
        static = percpu_size(runtime.structs)
        self._percpu = self._percpu_start + static
        for cpu in range(runtime.cpus):
            self.add(
                self.percpu_address(self._percpu_start, cpu),
                static,
                f"per-CPU variables of CPU {cpu}",
            )

    def add(self, address: int, size: int, name: str) -> int:
        """Makes `size` zeroed bytes at `address` part of memory; returns the address."""
        if size <= 0:
            raise BuildError(f"{name}: {size} bytes of memory")
        at = bisect_right(self._starts, address)
        before = self._starts[at - 1] if at else None
        after = self._starts[at] if at < len(self._starts) else None
        if before is not None and before + len(self._blocks[before][0]) > address:
            raise InputError(f"{name} at {address:#x} overlaps {self._blocks[before][1]}")
        if after is not None and address + size > after:
            raise InputError(f"{name} at {address:#x} overlaps {self._blocks[after][1]}")
        self._starts.insert(at, address)
        self._blocks[address] = (bytearray(size), name)
        return address

    def kmalloc(self, size: int, name: str, align: int = 64) -> int:
        """Zeroed memory in the direct map."""
        self._kmalloc = (self._kmalloc + align - 1) & -align
        address = self.add(self._kmalloc, size, name)
        self._kmalloc += size
        return address

    def vmalloc(self, size: int, name: str) -> int:
        """Zeroed whole pages in the vmalloc area, a guard page behind."""
        size = (size + _PAGE - 1) & -_PAGE
        address = self.add(self._vmalloc, size, name)
        self._vmalloc += size + _PAGE
        return address

    def percpu(self, size: int, name: str, align: int = 8) -> int:
        """A per-CPU allocation; returns the per-CPU pointer (see `percpu_address`)."""
        self._percpu = (self._percpu + align - 1) & -align
        pointer = self._percpu
        self._percpu += size
        if self._percpu - self._percpu_start > PERCPU_UNIT:
            raise InputError(f"{name}: per-CPU memory is exhausted ({PERCPU_UNIT} bytes per CPU)")
        for cpu in range(self.runtime.cpus):
            self.add(self.percpu_address(pointer, cpu), size, f"{name}, CPU {cpu}")
        return pointer

    def percpu_offset(self, cpu: int) -> int:
        """What a CPU adds to per-CPU pointers (its this_cpu_off, gs base or tpidr_el1)."""
        return (self.addresses.percpu + cpu * PERCPU_UNIT - self._percpu_start) & _MASK

    def percpu_offsets(self) -> tuple[int, ...]:
        """The offsets of all CPUs."""
        return tuple(self.percpu_offset(cpu) for cpu in range(self.runtime.cpus))

    def percpu_address(self, pointer: int, cpu: int) -> int:
        """Address of a per-CPU pointer's target on a CPU."""
        return (pointer + self.percpu_offset(cpu)) & _MASK

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        at = bisect_right(self._starts, address)
        if at:
            start = self._starts[at - 1]
            block = self._blocks[start][0]
            if address + size <= start + len(block):
                return block, address - start
        raise InputError(f"{size} bytes at {address:#x} are not allocated kernel memory")

    def blocks(self) -> Iterator[tuple[int, int, str]]:
        """(address, size, name) of every allocation, in ascending order."""
        for start in self._starts:
            block, name = self._blocks[start]
            yield start, len(block), name

    def name_at(self, address: int) -> str:
        """What lies at an address, empty outside allocations."""
        at = bisect_right(self._starts, address)
        if at:
            block, name = self._blocks[self._starts[at - 1]]
            if address < self._starts[at - 1] + len(block):
                return name
        return ""

    def write(self, address: int, data: bytes) -> None:
        """Sets initial contents; raises `InputError` outside allocations."""
        block, at = self._find(address, len(data))
        block[at : at + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        """Initial contents; raises `InputError` outside allocations."""
        block, at = self._find(address, size)
        return bytes(block[at : at + size])

    def put(self, address: int, value: int, size: int = 8) -> None:
        """Writes an integer, little-endian, wrapped to `size` bytes."""
        self.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def put_member(self, address: int, member: str, value: int, size: int = 8) -> None:
        """Writes the integer member ("struct.member") of a structure at `address`."""
        self.put(address + self.structs.offset(member), value, size)

    def put_words(self, address: int, words: list[int]) -> None:
        """Writes 64-bit words."""
        self.write(address, struct.pack(f"<{len(words)}Q", *(w & _MASK for w in words)))

    def put_column(self, address: int, stride: int, words: NDArray[np.uint64]) -> None:
        """Writes 64-bit words, one every `stride` bytes (a member of an array of structures)."""
        if not len(words):
            return
        block, at = self._find(address, (len(words) - 1) * stride + 8)
        column = np.ndarray((len(words),), "<u8", block, at, (stride,))
        column[:] = words

    def regions(self) -> tuple[Region, ...]:
        """Everything to map, in address order."""
        return tuple(
            Region(start, bytes(self._blocks[start][0]), self._blocks[start][1], False)
            for start in self._starts
        )
