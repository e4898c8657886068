"""Pages of kernel memory: what is mapped with large pages, what with small ones.

x86_64: the kernel image is mapped with 2 MB pages (arch/x86/kernel/head_64.S,
level2_kernel_pgt), the direct map with 1 GB pages where the CPU has them
(arch/x86/mm/init.c, probe_page_size_mask); the first per-CPU chunk lies in the direct map
(mm/percpu.c, pcpu_embed_first_chunk). vmalloc memory, stacks among it (CONFIG_VMAP_STACK) and
BPF programs and images, has 4 KB pages: their pack is 2 MB long, but is not allocated from the
cache of large executable pages (arch/x86/mm/init.c, execmem_arch_setup: EXECMEM_BPF).
arm64: the kernel image is mapped with 2 MB blocks (arch/arm64/kernel/pi/map_kernel.c); the
linear map with 4 KB pages, because its permissions may change page by page
(CONFIG_RODATA_FULL_DEFAULT_ENABLED; arch/arm64/mm/mmu.c, can_set_direct_map), and vmalloc
memory, BPF among it, too.
"""

from __future__ import annotations

from tramposim.machine.addresses import AddressMap
from tramposim.machine.trace import PageRange
from tramposim.spec import Arch

__all__ = ["page_ranges"]

_LARGE = 21
_HUGE = 30
_X86_64_DIRECT_MAP = (0xFFFF888000000000, 0xFFFFC88000000000)
_X86_64_IMAGE = (0xFFFFFFFF80000000, 0xFFFFFFFFC0000000)


def page_ranges(addresses: AddressMap) -> tuple[PageRange, ...]:
    """The memory that is mapped with pages larger than 4 KB, in ascending order.

    Source of the addresses: Documentation/arch/x86/x86_64/mm.rst; on arm64 the address map.
    """
    if addresses.arch is Arch.X86_64:
        return (PageRange(*_X86_64_DIRECT_MAP, _LARGE), PageRange(*_X86_64_IMAGE, _LARGE))
    text = addresses.text
    first = text.base >> _LARGE << _LARGE
    end = text.base + text.size >> _LARGE << _LARGE
    return (PageRange(first, end, _LARGE),)
