"""The address map: where a kernel keeps its text, JIT code, objects and stacks.

The places are those of real kernels, because they are encoded in machine code: on x86_64
images reach kernel text by rel32 calls; on arm64 they lie out of branch range, so that calls
take an address in a register and the traced function enters through ftrace_caller
(observed on every captured arm64 kernel, all with address randomisation). Kernel text and
data lie as without randomisation.
Source: Documentation/arch/x86/x86_64/mm.rst, Documentation/arch/arm64/memory.rst and the
captured addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.spec import Arch

__all__ = ["PAGE", "STACK_SIZE", "AddressMap", "Area", "address_map", "user_map"]

PAGE = 4096
"""Bytes of a page."""

STACK_SIZE = 16384
"""Bytes of a task's kernel stack (THREAD_SIZE, both architectures)."""


@dataclass(frozen=True, slots=True)
class Area:
    """A range of addresses for one use; `align` is what every object in it is aligned to."""

    name: str
    base: int
    size: int
    permissions: int
    align: int


@dataclass(frozen=True, slots=True)
class AddressMap:
    """The areas of one architecture.

    `text` is the kernel image (code and data linked at fixed places), `driver` code that
    calls the traced function, `jit` BPF programs and images, `objects` a part of the direct
    map, `stacks` kernel stacks. `kmalloc`, `vmalloc` and `percpu` are where allocations of
    these kinds begin.
    """

    arch: Arch
    text: Area
    driver: Area
    jit: Area
    objects: Area
    stacks: Area
    kmalloc: int
    vmalloc: int
    percpu: int

    @property
    def areas(self) -> tuple[Area, ...]:
        """All areas."""
        return (self.text, self.driver, self.jit, self.objects, self.stacks)


_CODE = READ | EXECUTE
_DATA = READ | WRITE
_MIB = 1 << 20

_NEAR_JIT = 0xFFFF800083400000
"""JIT area of arm64 kernels that enter images by `bl`: behind the kernel image."""

_MAPS = MappingProxyType(
    {
        Arch.X86_64: AddressMap(
            Arch.X86_64,
            text=Area("text", 0xFFFFFFFF81000000, 48 * _MIB, _CODE, 16),
            driver=Area("driver", 0xFFFFFFFFC0000000, 2 * _MIB, _CODE, 64),
            jit=Area("jit", 0xFFFFFFFFC0200000, 16 * _MIB, _CODE, 64),
            objects=Area("objects", 0xFFFF888180000000, 512 * _MIB, _DATA, 8),
            stacks=Area("stacks", 0xFFFFC90080000000, 2 * _MIB, _DATA, STACK_SIZE),
            kmalloc=0xFFFF888104000000,
            vmalloc=0xFFFFC90000000000,
            percpu=0xFFFF888200000000,
        ),
        Arch.ARM64: AddressMap(
            Arch.ARM64,
            text=Area("text", 0xFFFF800080010000, 48 * _MIB, _CODE, 16),
            driver=Area("driver", 0xFFFF800083010000, 2 * _MIB, _CODE, 64),
            jit=Area("jit", 0xFFFF8000A0000000, 16 * _MIB, _CODE, 64),
            objects=Area("objects", 0xFFFF0000E0000000, 512 * _MIB, _DATA, 8),
            stacks=Area("stacks", 0xFFFF8000B0000000, 2 * _MIB, _DATA, STACK_SIZE),
            kmalloc=0xFFFF0000C4000000,
            vmalloc=0xFFFF800084000000,
            percpu=0xFFFF000200000000,
        ),
    }
)


def address_map(arch: Arch, text: int | None = None, near: bool = False) -> AddressMap:
    """The address map of an architecture's kernels, with the kernel image at `text` if given.

    On arm64 the code that calls traced functions moves with it, into branch range; with
    `near` JIT code lies in branch range of the kernel image at its default place, too.
    """
    areas = _MAPS[arch]
    if near and arch is Arch.ARM64:
        areas = replace(areas, jit=replace(areas.jit, base=_NEAR_JIT, size=8 * _MIB))
    if text is None:
        return areas
    moved = replace(areas, text=replace(areas.text, base=text))
    if arch is Arch.ARM64:
        moved = replace(moved, driver=replace(areas.driver, base=text + areas.text.size))
    return moved


_USER_TEXT = 0x40000000
"""The kernel image in a process: kernel code reaches its data by sign-extended 32 bits, so it
must lie in the lowest 2 GiB; executables and the first mappings of a process lie elsewhere."""

_USER_HEAP = 0x7D0000000000
"""Data in a process: far from where kernels of x86_64 and arm64 place mappings by default."""


def user_map(arch: Arch) -> AddressMap:
    """Addresses at which a process of the same architecture can map the same kernel.

    Code keeps the distances that it has in a kernel. Data lies where an address still needs
    64 bits; addresses of code need 31 where a kernel's need 64 (sign-extended 32 on x86_64).
    """
    areas = _MAPS[arch]
    distance = _USER_TEXT - areas.text.base
    heap = _USER_HEAP
    return replace(
        areas,
        text=replace(areas.text, base=_USER_TEXT),
        driver=replace(areas.driver, base=_moved(areas.driver, distance)),
        jit=replace(areas.jit, base=_moved(areas.jit, distance)),
        objects=replace(areas.objects, base=heap + (1 << 34)),
        stacks=replace(areas.stacks, base=heap + (2 << 34)),
        kmalloc=heap + (3 << 34),
        vmalloc=heap + (4 << 34),
        percpu=heap + (5 << 34),
    )


def _moved(area: Area, distance: int) -> int:
    return area.base + distance
