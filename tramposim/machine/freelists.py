"""Where a hash map's unused elements wait: per-CPU free lists, or the lists of an LRU map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tramposim.errors import InputError
from tramposim.machine.memory import KernelMemory
from tramposim.spec import Map

__all__ = ["add_free_lists", "add_lru_lists", "link_free_nodes", "pop_free", "sequence"]

_LRU_FREE = 2
_LRU_LOCAL_TARGET = 128
"""Nodes that a CPU takes at once from the shared free list (LOCAL_FREE_TARGET)."""


def sequence(first: int, step: int, count: int) -> NDArray[np.uint64]:
    """Addresses first, first + step, ... (wrapping at 64 bits)."""
    return np.arange(count, dtype=np.uint64) * np.uint64(step) + np.uint64(first)


def add_free_lists(memory: KernelMemory, elements: int, size: int, count: int, spec: Map) -> int:
    """Spreads a hash map's elements over the CPUs' lists; the lists' per-CPU pointer."""
    first = elements + memory.structs.offset("htab_elem.fnode")
    return link_free_nodes(memory, first, size, count, spec)


def link_free_nodes(memory: KernelMemory, first: int, size: int, count: int, spec: Map) -> int:
    """Spreads nodes, one every `size` bytes, evenly over the CPUs' lists, later ones first."""
    layout, cpus = memory.structs, memory.runtime.cpus
    lists = memory.percpu(layout.sizes["pcpu_freelist_head"], f"free lists of {spec.name}", 16)
    for cpu in range(cpus):
        share = count // cpus + (cpu < count % cpus)
        links = sequence(first - size, size, share)
        links[:1] = 0
        memory.put_column(first, size, links)
        first += share * size
        memory.put(memory.percpu_address(lists, cpu), first - size if share else 0)
    return lists


def pop_free(memory: KernelMemory, lists: int, cpu: int) -> int:
    """Takes the first element of a CPU's list, or of the next CPU that has one."""
    layout, cpus = memory.structs, memory.runtime.cpus
    for step in range(cpus):
        head = memory.percpu_address(lists, (cpu + step) % cpus)
        node = int.from_bytes(memory.read(head, 8), "little")
        if node:
            memory.write(head, memory.read(node, 8))
            return node - layout.offset("htab_elem.fnode")
    raise InputError("no free element is left for a CPU's spare one")


def _empty_list(memory: KernelMemory, address: int) -> None:
    memory.put_words(address, [address, address])


def add_lru_lists(
    memory: KernelMemory, htab: int, elements: int, size: int, count: int, spec: Map
) -> None:
    """struct bpf_lru: all elements on the shared free list, the last one first."""
    layout, cpus = memory.structs, memory.runtime.cpus
    lru = htab + layout.offset("bpf_htab.freelist")
    node = layout.offset("htab_elem.lru_node")
    lists = [lru + layout.offset("bpf_lru.lists") + 16 * index for index in range(3)]
    _empty_list(memory, lists[0])
    _empty_list(memory, lists[1])
    head, first = lists[_LRU_FREE], elements + node
    older, newer = sequence(first - size, size, count), sequence(first + size, size, count)
    older[0], newer[-1] = head, head
    memory.put_column(first, size, older)
    memory.put_column(first + 8, size, newer)
    at = layout.offset("bpf_lru_node.type") - layout.offset("bpf_lru_node.cpu")
    tags = np.full(count, _LRU_FREE << 8 * at, np.uint64)
    memory.put_column(first + layout.offset("bpf_lru_node.cpu"), size, tags)
    memory.put_words(head, [first + (count - 1) * size, first])
    local = memory.percpu(layout.sizes["bpf_lru_locallist"], f"local lists of {spec.name}", 8)
    for cpu in range(cpus):
        address = memory.percpu_address(local, cpu)
        _empty_list(memory, address)
        _empty_list(memory, address + 16)
        memory.put_member(address, "bpf_lru_locallist.next_steal", cpu, 2)
    memory.put_member(lru, "bpf_lru.next_inactive_rotation", lists[1])
    memory.put_member(lru, "bpf_lru.local_list", local)
    delete = memory.runtime.address("htab_lru_map_delete_node")
    memory.put_member(lru, "bpf_lru.del_from_htab", delete)
    memory.put_member(lru, "bpf_lru.del_arg", htab)
    hash_offset = layout.offset("htab_elem.hash") - node
    memory.put_member(lru, "bpf_lru.hash_offset", hash_offset, 4)
    target = min(max(count // cpus // 2, 1), _LRU_LOCAL_TARGET)
    memory.put_member(lru, "bpf_lru.target_free", target, 4)
    memory.put_member(lru, "bpf_lru.nr_scans", _LRU_LOCAL_TARGET, 4)
