"""Symbols of a running kernel: the text of /proc/kallsyms."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from tramposim.errors import InputError

__all__ = ["Symbols", "parse_kallsyms"]

MAX_LINE = 4096
MAX_SYMBOLS = 1 << 24
_TEXT_TYPES = frozenset("tTwW")
_LIMIT = 1 << 64


class Symbols:
    """Names and addresses; the first of several symbols of one name counts."""

    def __init__(self, entries: Iterable[tuple[int, str, str]]) -> None:
        listed = list(entries)
        self._addresses: dict[str, int] = {}
        for address, _, name in listed:
            self._addresses.setdefault(name, address)
        text = sorted((address, name) for address, kind, name in listed if kind in _TEXT_TYPES)
        self._starts = [address for address, _ in text]
        self._names = [name for _, name in text]
        self._bounds = sorted({address for address, _, _ in listed})

    def get(self, name: str) -> int | None:
        """Address of a symbol; None if there is none."""
        return self._addresses.get(name)

    def address(self, name: str) -> int:
        """Address of a symbol; raises `InputError` if there is none."""
        address = self._addresses.get(name)
        if address is None:
            raise InputError(f"the kernel has no symbol {name!r}", "/proc/kallsyms")
        return address

    def names_at(self, address: int) -> tuple[str, ...]:
        """Functions that begin at an address."""
        end = bisect_right(self._starts, address)
        start = end
        while start and self._starts[start - 1] == address:
            start -= 1
        return tuple(self._names[start:end])

    def function_at(self, address: int) -> tuple[str, int] | None:
        """Name and address of the function that an address lies in, or of the one before."""
        index = bisect_right(self._starts, address) - 1
        return (self._names[index], self._starts[index]) if index >= 0 else None

    def size_of(self, address: int) -> int:
        """Bytes from a symbol to the next one behind it (0: there is none)."""
        index = bisect_right(self._bounds, address)
        return self._bounds[index] - address if index < len(self._bounds) else 0


def parse_kallsyms(lines: Iterable[str], where: str = "/proc/kallsyms") -> Symbols:
    """Parse lines of address, type, name and perhaps [module].

    Raises `InputError` for malformed lines, and if all addresses are hidden.
    """
    entries = list(_entries(lines, where))
    if not entries:
        raise InputError("holds no symbols", where)
    if not any(address for address, _, _ in entries):
        raise InputError(
            "addresses are hidden; be root, and set sysctl kernel.kptr_restrict to 0 or 1", where
        )
    return Symbols(entries)


def _entries(lines: Iterable[str], where: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if number > MAX_SYMBOLS or len(line) > MAX_LINE or len(words) < 3 or len(words[1]) != 1:
            raise InputError("not a line of address, type and name", f"{where}:{number}")
        try:
            address = int(words[0], 16)
        except ValueError:
            raise InputError(f"{words[0][:20]!r} is no address", f"{where}:{number}") from None
        if not 0 <= address < _LIMIT:
            raise InputError(f"{words[0][:20]!r} is no 64-bit address", f"{where}:{number}")
        yield address, words[1], words[2]
