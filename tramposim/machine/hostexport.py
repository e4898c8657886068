"""What a process needs to run a guest kernel's code natively: memory and registers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from tramposim.machine.caller import COUNTER, CallingLoop
from tramposim.machine.guestkernel import GuestKernel
from tramposim.machine.hoststub import user_mode_code
from tramposim.machine.native import HostCode
from tramposim.machine.trace import CodeRegion
from tramposim.spec import Arch

__all__ = ["HostImage", "host_image"]

_REACH = (1 << 20) - 4096
"""How far an arm64 literal load reaches, either way."""


@dataclass(frozen=True, slots=True)
class HostImage:
    """Memory as (address, permissions, whole pages), and the per-CPU base."""

    pages: tuple[tuple[int, int, bytes], ...]
    percpu: int
    registers: Mapping[str, int]

    def loop(self, loop: CallingLoop, calls: int) -> HostCode:
        """The calling loop as code to run, `calls` times around."""
        arch = Arch.X86_64 if "rsp" in self.registers else Arch.ARM64
        return HostCode(loop.begin, loop.end, {**self.registers, COUNTER[arch]: calls})


def host_image(guest: GuestKernel) -> HostImage:
    """The guest as it stands, its code as a process may execute it.

    The guest must have been built at `addresses.user_map`.
    """
    machine = guest.machine
    pages = [(start, permissions, bytearray(data)) for start, permissions, data in machine.pages()]
    starts = [start for start, _, _ in pages]

    def put(address: int, data: bytes) -> None:
        start, _, content = pages[bisect_right(starts, address) - 1]
        content[address - start : address - start + len(data)] = data

    regions = machine.code_regions()
    free = _gaps(regions)
    for region in regions:
        literal = _near(free, region.address)
        code, used = user_mode_code(machine.arch, region.code, region.address, literal)
        put(region.address, code)
        if used and literal is not None:
            put(literal, guest.cpu.task.to_bytes(8, "little"))
    values = machine.engine.registers()
    if machine.arch is Arch.X86_64:
        skipped = {"rip", "rflags", "gs_base", "r11"}
        percpu = values["gs_base"]
    else:
        skipped = {"pc", "nzcv", "tpidr_el1", "sp_el0"}
        percpu = 0
        values["tpidr_el0"] = values["tpidr_el1"]
    registers = {name: value for name, value in values.items() if name not in skipped}
    return HostImage(
        tuple((start, permissions, bytes(data)) for start, permissions, data in pages),
        percpu,
        registers,
    )


def _gaps(regions: tuple[CodeRegion, ...]) -> list[int]:
    """Aligned places for 8 bytes between regions that lie on one page."""
    found = []
    for before, after in pairwise(regions):
        place = before.address + len(before.code) + 7 & ~7
        if place + 8 <= after.address and place >> 12 == (before.address + len(before.code)) >> 12:
            found.append(place)
    return found


def _near(places: list[int], address: int) -> int | None:
    at = bisect_left(places, address)
    near = [place for place in places[max(at - 1, 0) : at + 1] if abs(place - address) < _REACH]
    return min(near, key=lambda place: abs(place - address), default=None)
