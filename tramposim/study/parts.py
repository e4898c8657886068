"""The parts of a traced call.

Every executed instruction belongs to a part of the call: the calling loop, the traced
function's patched entry and what it runs through before the image (ftrace_caller), a part of
the image with all that it calls, or the original function.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from tramposim.kernel.image import Image
from tramposim.machine.target import Target
from tramposim.machine.trace import CodeRegion

__all__ = ["ENTRY", "LOOP", "ORIGINAL", "Places"]

LOOP, ENTRY, ORIGINAL = "calling loop", "function entry", "call original"
"""Parts that lie outside the image."""


class Places:
    """Tells which part of a call an address belongs to, given where the call stands."""

    def __init__(self, image: Image | None, target: Target, regions: Iterable[CodeRegion]) -> None:
        self.image = image
        self.target = target
        self.regions = sorted(regions, key=lambda region: region.address)
        self._starts = [region.address for region in self.regions]
        parts = image.parts if image else ()
        self._part_starts = [part.start for part in parts]

    def function(self, address: int) -> str:
        """Name of the code region that holds an address."""
        return self.regions[bisect_right(self._starts, address) - 1].name

    def image_part(self, address: int) -> tuple[str, str, int] | None:
        """Name, program and bytes of the image's part that an address lies in."""
        if self.image is None or not 0 <= address - self.image.address < len(self.image.code):
            return None
        part = self.image.parts[bisect_right(self._part_starts, address - self.image.address) - 1]
        return part.name, part.detail, part.end - part.start

    def walk(self, pcs: Iterable[int]) -> Iterator[tuple[str, str, int]]:
        """(part, program, bytes) of each executed address of one call, in order."""
        current = (LOOP, "", 0)
        target = self.regions[bisect_right(self._starts, self.target.address) - 1]
        in_target = range(target.address, target.address + len(target.code))
        entered = False
        for pc in pcs:
            part = self.image_part(pc)
            if part is not None:
                current, entered = part, True
            elif pc in in_target:
                if not entered:
                    current = (ENTRY if self.image else ORIGINAL, "", 0)
            elif self.function(pc) == LOOP:
                current = (LOOP, "", 0)
            yield current
