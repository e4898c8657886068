"""The emulated machine: one CPU, memory mapped on demand, symbols, faults in kernel terms."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from tramposim._native.engine import EXECUTE, Engine, Stop
from tramposim.errors import InputError
from tramposim.machine.addresses import PAGE, AddressMap, Area, address_map
from tramposim.machine.fault import fault_of
from tramposim.machine.trace import ACCESS, STORE, CodeRegion
from tramposim.spec import Arch, Kernel

__all__ = ["Machine"]

_CHUNK = 16 * PAGE
_SYMBOL_REACH = 1 << 16

_DATA_FAULTS = ("unmapped-read", "unmapped-write", "protected-read", "protected-write")


class Machine:
    """One CPU of a kernel in supervisor mode.

    Memory is mapped page by page as things are placed or allocated; an access anywhere else
    is a `GuestFault`. `symbols` name addresses in errors and for linking.
    """

    def __init__(self, kernel: Kernel, addresses: AddressMap | None = None) -> None:
        self.kernel = kernel
        self.arch = kernel.arch
        self.addresses = addresses or address_map(kernel.arch)
        self.engine = Engine(kernel.arch.value)
        self.symbols: dict[str, int] = {}
        self._pages: dict[int, int] = {}
        self._next = {area.name: area.base for area in self.addresses.areas}
        self._code: dict[int, tuple[int, str]] = {}
        self._by_address: list[tuple[int, str]] | None = None
        self._on_hypercall: Callable[[int], None] | None = None
        self._exceptions: dict[int, int] = {}

    def map(self, address: int, size: int, permissions: int) -> None:
        """Map the pages of a range that are not mapped yet.

        Raises `InputError` if one is mapped with other permissions.
        """
        first, last = address // PAGE, (address + max(size, 1) - 1) // PAGE
        start: int | None = None
        for page in range(first, last + 1):
            present = self._pages.get(page)
            if present is not None and present != permissions:
                raise InputError(
                    f"page {page * PAGE:#x} is needed both with permissions {present} and"
                    f" {permissions}"
                )
            if present is None and start is None:
                start = page
            if present is not None and start is not None:
                self._map_run(start, page, permissions)
                start = None
        if start is not None:
            self._map_run(start, last + 1, permissions)

    def _map_run(self, first: int, end: int, permissions: int) -> None:
        self.engine.map(first * PAGE, (end - first) * PAGE, permissions)
        self._pages.update(dict.fromkeys(range(first, end), permissions))

    def place(self, address: int, data: bytes, permissions: int, name: str = "") -> None:
        """Put bytes at a fixed address; executable ones become a code region of traces."""
        self.map(address, len(data), permissions)
        self.engine.write(address, data)
        if permissions & EXECUTE and data:
            self._code[address] = (len(data), name)

    def place_pages(
        self, blocks: Iterable[tuple[int, bytes, str]], permissions: int, fill: bytes
    ) -> None:
        """Place blocks (address, bytes, name) on fresh pages that otherwise hold `fill`.

        As `place` for each of them, in far fewer steps. Raises `InputError` if a page is
        mapped already.
        """
        listed = sorted(blocks)
        index = 0
        while index < len(listed):
            first = end = listed[index][0] // PAGE
            run = index
            while run < len(listed) and listed[run][0] // PAGE <= end:
                address, data, _ = listed[run]
                end = max(end, (address + max(len(data), 1) - 1) // PAGE + 1)
                run += 1
            if any(page in self._pages for page in range(first, end)):
                raise InputError(f"pages from {first * PAGE:#x} on are mapped already")
            self._map_run(first, end, permissions)
            content = bytearray(fill * ((end - first) * PAGE // len(fill)))
            for address, data, name in listed[index:run]:
                at = address - first * PAGE
                content[at : at + len(data)] = data
                if permissions & EXECUTE and data:
                    self._code[address] = (len(data), name)
            self.engine.write(first * PAGE, content)
            index = run

    def allocate(self, area: Area, size: int, align: int = 0) -> int:
        """Address of `size` fresh zeroed bytes in an area; `InputError` when it is full."""
        align = max(align, area.align)
        address = -(-self._next[area.name] // align) * align
        if size < 0 or address + size > area.base + area.size:
            raise InputError(f"the {area.name} area of {area.size:#x} bytes is full")
        self._next[area.name] = address + size
        end = min(-(-(address + size) // _CHUNK) * _CHUNK, area.base + area.size)
        self.map(address, end - address, area.permissions)
        return address

    def kmalloc(self, size: int) -> int:
        """Address of an object in the direct map, aligned as a kmalloc cache aligns it."""
        cache = max(8, 1 << (size - 1).bit_length())
        if cache > 64 and cache // 4 * 3 >= size and cache <= 256:
            return self.allocate(self.addresses.objects, cache // 4 * 3, cache // 4)
        return self.allocate(self.addresses.objects, cache, min(cache, PAGE))

    def read(self, address: int, size: int) -> bytes:
        """Bytes of guest memory."""
        return self.engine.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write guest memory, read-only or not, as the kernel's text poking does."""
        self.engine.write(address, data)

    def read_int(self, address: int, size: int = 8) -> int:
        """A little-endian unsigned integer of guest memory."""
        return int.from_bytes(self.engine.read(address, size), "little")

    def write_int(self, address: int, value: int, size: int = 8) -> None:
        """Store the low `size` bytes of an integer, little-endian."""
        self.engine.write(address, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def add_symbols(self, symbols: Mapping[str, int]) -> None:
        """Add names of addresses; a later name of the same spelling replaces the earlier."""
        self.symbols.update(symbols)
        self._by_address = None

    def symbol_of(self, address: int) -> str:
        """The nearest symbol before an address, as "name+0x10"; empty if none is near."""
        if self._by_address is None:
            self._by_address = sorted((value, name) for name, value in self.symbols.items())
        index = bisect_right(self._by_address, (address, "\U0010ffff")) - 1
        if index >= 0:
            value, name = self._by_address[index]
            if address - value < _SYMBOL_REACH:
                return f"{name}+{address - value:#x}" if address != value else name
        return ""

    def describe(self, address: int) -> str:
        """The address in hex with the nearest symbol before it, if one is near."""
        symbol = self.symbol_of(address)
        return f"{address:#x} ({symbol})" if symbol else f"{address:#x}"

    def add_exceptions(self, exceptions: Mapping[int, int]) -> None:
        """Let accesses fail: a data access at a key that faults goes on at its value.

        That is what the kernel's exception table says. What the exception itself costs a CPU
        (entry, search of the table, return) is not executed.
        """
        self._exceptions.update(exceptions)

    def set_doors(self, base: int, size: int, on_hypercall: Callable[[int], None]) -> None:
        """Call `on_hypercall` with the pc before any of the instructions in a range executes."""
        self.engine.set_doors(base, size)
        self._on_hypercall = on_hypercall

    def run(
        self, begin: int, until: int, budget: int, *, trace: bool = False, demand: bool = False
    ) -> Stop:
        """Run from `begin` to `until`; raises `GuestFault` if anything else ends it.

        With `demand` data where nothing is mapped appears, zeroed (`engine.demanded`).
        """
        engine = self.engine
        stop = engine.run(begin, until, budget, trace=trace, demand=demand)
        while (go_on := self._go_on_at(stop)) is not None:
            stop = engine.run(go_on, until, budget, trace=trace, resume=True, demand=demand)
        if stop.reason != "end":
            raise fault_of(
                self.arch, stop, engine.last_pc, self.describe, self.symbol_of, self._peek
            )
        return stop

    def _go_on_at(self, stop: Stop) -> int | None:
        """Where a stopped run goes on: behind a hypercall, or where an exception is handled."""
        if stop.reason == "hypercall" and self._on_hypercall is not None:
            self._on_hypercall(stop.pc)
            return stop.pc
        if stop.reason in _DATA_FAULTS:
            return self._exceptions.get(self.engine.last_pc)
        return None

    def _peek(self, address: int, size: int) -> bytes:
        """Up to `size` mapped bytes at an address."""
        there = 0
        for start, length in self.engine.regions():
            if start <= address + there < start + length:
                there = min(size, start + length - address)
        return self.engine.read(address, there)

    def pages(self) -> Iterator[tuple[int, int, bytes]]:
        """All mapped memory as it stands: address, permissions and bytes of runs of pages."""
        run: list[int] = []
        for page in [*sorted(self._pages), -1]:
            last = run[-1] if run else None
            if last is not None and (page != last + 1 or self._pages[page] != self._pages[last]):
                start, size = run[0] * PAGE, len(run) * PAGE
                yield start, self._pages[last], self.engine.read(start, size)
                run = []
            run.append(page)

    def code_regions(self) -> tuple[CodeRegion, ...]:
        """All code as it stands now, in order of address."""
        return tuple(
            CodeRegion(address, self.engine.read(address, size), name)
            for address, (size, name) in sorted(self._code.items())
        )

    def take_trace(
        self, regions: Iterable[CodeRegion]
    ) -> tuple[NDArray[np.uint64], NDArray[np.void]]:
        """Executed pcs and accesses of the last traced run.

        A store-exclusive appears as the store that it is: the emulator compares memory
        before it stores, which no CPU does.
        """
        pcs_buffer, access_buffer = self.engine.take_trace()
        pcs = np.frombuffer(pcs_buffer, np.uint64)
        accesses = np.frombuffer(access_buffer, ACCESS)
        if self.arch is Arch.ARM64:
            exclusive = _store_exclusives(regions)
            if len(exclusive):
                loads = (accesses["flags"] & STORE) == 0
                spurious = loads & np.isin(pcs[accesses["insn"]], exclusive)
                accesses = accesses[~spurious]
        return pcs, accesses


def _store_exclusives(regions: Iterable[CodeRegion]) -> NDArray[np.uint64]:
    """Addresses of stxr, stlxr, stxp and stlxp (Arm ARM, C4.1: load/store exclusive)."""
    found = [np.empty(0, np.uint64)]
    for region in regions:
        words = np.frombuffer(region.code[: len(region.code) // 4 * 4], "<u4")
        single = (words & 0x3FE00000) == 0x08000000
        pair = (words & 0xBFE00000) == 0x88200000
        where = np.flatnonzero(single | pair).astype(np.uint64)
        found.append(where * np.uint64(4) + np.uint64(region.address))
    return np.concatenate(found)
