"""The places that a call touches, and how they lie in memory for other functions and CPUs.

Every traced function has its own code, image and objects; every CPU its own variables, task and
stack. A measured call stands for the calls of all functions on all CPUs: the places that belong
to its function or CPU are moved by so many bytes per number of the function or CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramposim._native.callpath import PLACE_KINDS, CallPath
from tramposim.machine.trace import PageRange
from tramposim.machine.traced import TracedFunction
from tramposim.spec import MapType
from tramposim.timing.prepare import PreparedTrace

__all__ = ["LINE", "Moves", "call_path", "moves_of", "with_moved_text"]

LINE = 64
_CODE, _DATA, _BRANCH = range(len(PLACE_KINDS))
_SMALL = 12

_OWN_BLOCKS = ("struct bpf_tramp_image", "percpu_ref", "struct ftrace_ops")
"""What the kernel allocates per traced function (kernel/bpf/trampoline.c, mm/percpu.c)."""

_TEXT_STRIDE = 69 * LINE
"""Between two traced functions: a few kilobytes of text apart, in all sets of a cache."""

_FAR = 1 << 26
_TEXT_FAR = 1 << 29
"""Where functions' own places are moved to, away from everything that is shared."""

_CPU_FAR = 3 << 21
_CPU_STRIDE = 1 << 30
"""Where CPUs' own places are moved to, on pages of their own; and between those of two CPUs, in
the same sets of all caches and TLBs that a CPU has: all CPUs are alike."""


@dataclass(frozen=True, slots=True)
class _Region:
    """Addresses from `start` to before `end` and what moves them (bytes)."""

    start: int
    end: int
    fixed: int = 0
    by_function: int = 0
    by_cpu: int = 0


@dataclass(frozen=True, slots=True)
class Moves:
    """Regions of memory that belong to a function or a CPU; everything else stays (region 0)."""

    regions: tuple[_Region, ...]

    def of(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The region of each address."""
        found = np.zeros(len(addresses), np.uint8)
        for number, region in enumerate(self.regions, 1):
            inside = (addresses >= np.uint64(region.start)) & (addresses < np.uint64(region.end))
            found[inside & (found == 0)] = number
        return found

    @property
    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Bytes by region: fixed, per number of the function, per number of the CPU."""
        rows = [(0, 0, 0), *((r.fixed, r.by_function, r.by_cpu) for r in self.regions)]
        fixed, by_function, by_cpu = np.array(rows, np.int64).T.copy()
        return fixed, by_function, by_cpu


def moves_of(world: TracedFunction, many: bool) -> Moves:
    """What of a traced world belongs to its function (if there are `many`), what to its CPU."""
    memory = world.guest.memory
    regions: list[_Region] = []
    if many:
        entry = world.target.address
        regions.append(_Region(entry - 16, entry + 256, _TEXT_FAR, _TEXT_STRIDE))
        if world.image is not None:
            size = len(world.image.code)
            stride = -(-size // LINE) * LINE
            start = world.image.address
            regions.append(_Region(start, start + size, _FAR, stride))
    mine = f"CPU {world.guest.cpu.number}"
    elements = _elements(world)
    # programs that ask for the function's address keep state by function
    by_function = any(program.loaded.uses_func_ip for program in world.programs)
    for start, size, name in memory.blocks():
        element = elements.get(name, 0)
        own = many and (name.startswith(_OWN_BLOCKS) or (element > 0 and by_function))
        percpu = mine in name or element > 0
        if own or percpu:
            stride = element or 1 << max(3 if percpu else 6, (size - 1).bit_length())
            fixed = own * _FAR + percpu * _CPU_FAR
            moves = fixed, own * stride, percpu * _CPU_STRIDE
            regions.append(_Region(start, start + size, *moves))
    return Moves(tuple(regions))


def _elements(world: TracedFunction) -> dict[str, int]:
    """Bytes from one element of a hash map to the next, in whole lines, by name of their block.

    Keys are of threads, so that every CPU has elements of its own.
    """
    found = {}
    for name, placed in world.guest.maps.items():
        if placed.map.type in (MapType.HASH, MapType.LRU_HASH):
            key, value = (
                -(-size // 8) * 8 for size in (placed.map.key_size, placed.map.value_size)
            )
            size = world.guest.runtime.structs.sizes["htab_elem"] + key + value
            found[f"elements of {name}"] = -(-size // LINE) * LINE
    return found


def with_moved_text(pages: tuple[PageRange, ...], world: TracedFunction) -> tuple[PageRange, ...]:
    """Page ranges in which the text of moved functions has the pages of the function's."""
    entry = world.target.address
    moved = entry + _TEXT_FAR
    (size,) = {page.shift for page in pages if page.start <= entry < page.end} or {_SMALL}
    if size == _SMALL or any(page.start <= moved < page.end for page in pages):
        return pages
    start = moved >> size << size
    text = PageRange(start, start + _TEXT_FAR, size)
    return tuple(sorted([*pages, text], key=lambda page: page.start))


def call_path(
    prepared: PreparedTrace, number: int, pages: tuple[PageRange, ...], moves: Moves, window: int
) -> CallPath:
    """The places of call `number`, in the order in which it touches each first and last.

    `window`: bytes of code that the core's uop cache keeps together (0: it has none).
    """
    sizes = {_CODE: min(window or LINE, LINE), _DATA: LINE, _BRANCH: 1}
    touches = list(_touched(prepared, number))
    keys = [(kind, address // sizes[kind]) for kind, address in touches]
    last = {key: at for at, key in enumerate(keys)}
    seen: set[tuple[int, int]] = set()
    ordered: list[tuple[int, int, bool]] = []
    for at, (key, (kind, address)) in enumerate(zip(keys, touches, strict=True)):
        if key not in seen or last[key] == at:
            ordered.append((kind, address, key in seen))
            seen.add(key)
    kinds, addresses, again = zip(*ordered, strict=True)
    starts = _page_starts(np.array(addresses, np.uint64), pages)
    _, numbers = np.unique(starts, return_inverse=True)
    return CallPath(
        np.array(kinds, np.uint8),
        np.array(addresses, np.uint64),
        numbers.astype(np.int32),
        moves.of(np.array(addresses, np.uint64)),
        np.array(again, np.uint8),
    )


def _touched(prepared: PreparedTrace, number: int) -> Iterator[tuple[int, int]]:
    """(kind, address) of everything that a call touches, as it does.

    Code is fetched when a line is entered, from the line of an instruction's last byte on.
    """
    order, accesses = prepared.call(number)
    insns = prepared.code.insns[order]
    pcs, sizes = insns["pc"].tolist(), insns["size"].tolist()
    branches = insns["branch"].tolist()
    owners, starts, lengths = (accesses[name].tolist() for name in ("insn", "address", "size"))
    at, line = 0, -1
    for index, pc in enumerate(pcs):
        end = pc + sizes[index] - 1
        if end // LINE != line:
            if pc // LINE not in (line, end // LINE):
                yield _CODE, pc
            line = end // LINE
            yield _CODE, end
        while at < len(owners) and owners[at] <= index:
            yield _DATA, starts[at]
            if (starts[at] + max(lengths[at], 1) - 1) // LINE != starts[at] // LINE:
                yield _DATA, starts[at] + lengths[at] - 1
            at += 1
        if branches[index] and index + 1 < len(pcs) and pcs[index + 1] != pc + sizes[index]:
            yield _BRANCH, pc
            line = -1


def _page_starts(addresses: NDArray[np.uint64], pages: tuple[PageRange, ...]) -> NDArray[np.uint64]:
    shifts = np.full(len(addresses), _SMALL, dtype=np.uint64)
    for known in pages:
        inside = (addresses >= np.uint64(known.start)) & (addresses < np.uint64(known.end))
        shifts[inside] = known.shift
    return addresses >> shifts << shifts
