"""What the instructions of a cold call had to wait for, by instruction and address."""

from __future__ import annotations

from collections.abc import Iterable

from tramposim.timing.calls import Miss

__all__ = ["Missed"]

_LINE = 64
_PAGE_SHIFTS = (12, 21, 30)


class Missed:
    """The misses of one call, looked up by who waited for what.

    A line or page that is under way already is waited for by instructions that did not ask for
    it: they find the record of the one that did.
    """

    def __init__(self, misses: Iterable[Miss]) -> None:
        self._by_place: dict[tuple[str, int], Miss] = {}
        self._by_pc: dict[tuple[str, int, int], Miss] = {}
        for miss in misses:
            self._by_place.setdefault((miss.kind, miss.address), miss)
            self._by_pc.setdefault((miss.kind, miss.pc, miss.address), miss)

    def data(self, pc: int, address: int, size: int) -> tuple[Miss | None, Miss]:
        """The page (if it asked for one) and the line that an access waited for."""
        line = self._line("data line", pc, address, size)
        return self._page("data page", pc, address, size), line

    def code(self, pc: int) -> tuple[Miss | None, Miss]:
        """The page (if it asked for one) and the line that the delivery of `pc` waited for."""
        return self._page("code page", pc, pc, 15), self._line("code line", pc, pc, 15)

    def branch(self, pc: int) -> Miss:
        """The branch at `pc`, whose target decode had to find."""
        kind = "branch target"
        return self._by_place.get((kind, pc)) or Miss(kind, "decode", pc, pc, 0)

    def _page(self, kind: str, pc: int, address: int, size: int) -> Miss | None:
        for byte in (address, address + size - 1):
            for shift in _PAGE_SHIFTS:
                found = self._by_pc.get((kind, pc, byte >> shift << shift))
                if found is not None:
                    return found
        return None

    def asked(self, kind: str, pc: int, address: int, size: int) -> Miss | None:
        """The line of an access, if the instruction at `pc` asked for it."""
        for line in _lines(address, size):
            if (kind, pc, line) in self._by_pc:
                return self._by_pc[kind, pc, line]
        return None

    def _line(self, kind: str, pc: int, address: int, size: int) -> Miss:
        asked = self.asked(kind, pc, address, size)
        if asked is not None:
            return asked
        lines = _lines(address, size)
        for line in lines:
            if (kind, line) in self._by_place:
                return self._by_place[kind, line]
        return Miss(kind, "under way", pc, lines[0], 0)


def _lines(address: int, size: int) -> tuple[int, ...]:
    """The first and the last line of an access."""
    return tuple(byte // _LINE * _LINE for byte in (address, address + max(size, 1) - 1))
