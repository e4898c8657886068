"""Traced functions that call traced functions, in one guest."""

from __future__ import annotations

from collections.abc import Sequence

from tramposim._native.engine import EXECUTE, READ
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.guestkernel import GuestKernel, GuestProgram
from tramposim.machine.target import Target
from tramposim.machine.traced import TracedFunction
from tramposim.spec import Arch, Kernel
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario

__all__ = ["nested_calls"]


class _Caller(TracedFunction):
    """A function that calls another one and returns what that returned."""

    def __init__(
        self, callee: TracedFunction, name: str, links: Sequence[tuple[GuestProgram, int]]
    ) -> None:
        self._callee = callee.target.address
        super().__init__(callee.guest, parse_prototype(f"int {name}(void *p)"), links)

    def _place_target(self) -> Target:
        machine = self.guest.machine
        address = machine.allocate(machine.addresses.driver, 256, 64) + 64
        kernel = machine.kernel
        if machine.arch is Arch.X86_64:
            # endbr64; nop5, where the entry is patched; push rdi; call; pop rdi; ret
            code = bytes.fromhex("f30f1efa") if kernel.ibt else b""
            site = len(code)
            distance = self._callee - (address + site + 11)
            code += bytes.fromhex("0f1f44000057e8") + distance.to_bytes(4, "little", signed=True)
            code += bytes.fromhex("5fc3")
            target = Target(address, address + site, address + site + 5)
        else:
            # bti c; mov x9, x30; nop, which is patched; stp x29, x30, [sp, -16]!; bl; ldp; ret
            words = [0xD503245F] if kernel.bti else []
            words += [0xAA1E03E9, 0xD503201F, 0xA9BF7BFD]
            distance = (self._callee - (address + 4 * len(words))) // 4 & 0x3FFFFFF
            site = address + 4 * len(words) - 8
            words += [0x94000000 | distance, 0xA8C17BFD, 0xD65F03C0]
            code = b"".join(word.to_bytes(4, "little") for word in words)
            target = Target(address, site, site + 4)
        machine.place(address - 16, bytes(16) + code, READ | EXECUTE, self.prototype.name)
        return target


def nested_calls(arch: Arch, scenario: str, body: str, depth: int) -> TracedFunction:
    """The outermost of `depth` functions, each of which calls the next, all traced by the same
    programs."""
    guest = GuestKernel(Kernel(arch))
    programs = programs_of(parse_scenario(scenario), body)
    links = [(guest.load(program), 0) for program in programs]
    function = TracedFunction(guest, parse_prototype("int innermost(void *p)"), links)
    for level in range(1, depth):
        function = _Caller(function, f"level{level}", links)
    return function
